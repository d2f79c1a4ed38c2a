"""CPU seconds and peak memory of `front` and `status` of long campaigns, which are made up.

python tests/benchmarks/status_times.py [CANDIDATES ...] [--write]
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from moosearch.api.campaign import Campaign
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.log import LogWriter
from moosearch.campaign.now import Now
from moosearch.campaign.record import FORMAT
from moosearch.campaign.status import read_status

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "results/benchmarks/status_times.csv"
POPULATION, EPOCHS = 100, 8
TIME = "2026-12-01T00:00:00.000+00:00"


def made_up(root, count):
    """Write a campaign like the reference campaign into a folder: its evaluations, with other values."""
    reference, folder = Campaign(ROOT / "results/digits-reference"), CampaignFolder(root)
    folder.root.mkdir()
    folder.spec.write_bytes(reference.folder.spec.read_bytes())
    generations = -(-count // POPULATION)
    header = dataclasses.replace(reference.header, population=POPULATION, generations=generations)
    templates = [evaluation.to_tree() for evaluation in reference.evaluations]
    log, now, generator = LogWriter(folder.events), Now(), np.random.default_rng(0)
    lines = 0

    def append(event, **data):
        nonlocal lines
        said = {"time": TIME, "event": event, **data}
        log.append(said)
        now.update(said)
        lines += 1
        if lines % 1000 == 0:
            log.append({"time": TIME, "event": "now", **now.to_tree()})

    append("opened", host="node", pid=1, user="user", versions={})
    append("created", format=FORMAT, header=header.to_tree(), **reference.record.description)
    append("started", known=0, workers=8)
    for number in range(count):
        identity, generation = f"{number:012x}", 1 + number // POPULATION
        if number % POPULATION == 0:
            ids = [f"{each:012x}" for each in range(number, number + POPULATION)]
            append("generation_started", generation=generation, candidates=ids)
        append("begun", candidate=identity, number=0, attempt=1, parts=1, host="node", pid=1)
        for epoch in range(1, EPOCHS + 1):
            row = {"epoch": epoch, "loss": 1.0 / epoch, "clean_accuracy": 0.9, "robust_accuracy": 0.5}
            append("epoch", candidate=identity, number=0, epochs=EPOCHS, row=row)
        tree = templates[number % len(templates)]
        better = 0.3 + 0.7 * min(1.0, generation / generations)  # a search that makes progress
        cost, luck, balance = generator.random(), 1 - 0.1 * generator.random() ** 2, generator.random()
        clean = better * luck * (0.5 + 0.4 * cost**0.5 + 0.1 * balance)
        values = {
            "clean_accuracy": float(clean),
            "robust_accuracy": float(clean * (0.9 - 0.3 * balance)),
            "flops": float(round(2e6 * cost)),
        }
        where = {"generation": generation, "index": number % POPULATION}
        candidate = tree["candidate"] | {"id": identity}
        append("evaluated", **tree | where | {"candidate": candidate, "objectives": values})
    append("finished")
    log.close()
    return folder


def measured(*arguments):
    """Return CPU seconds and peak MB of a command."""
    process = subprocess.Popen([sys.executable, "-m", "moosearch", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def again(folder):
    """Return CPU seconds of another look in one process, after one more line."""
    campaign = Campaign(folder.root)
    read_status(campaign)
    log = LogWriter(folder.events)
    log.append({"time": TIME, "event": "opened", "host": "node", "pid": 1, "user": ""})
    log.close()
    start = time.process_time()
    read_status(campaign)
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("candidates", nargs="*", type=int, default=[100, 5000, 20000])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for count in given.candidates:
            folder = made_up(Path(scratch) / str(count), count)
            row = {"candidates": count, "log_mb": folder.events.stat().st_size / 2**20}
            row |= {"front": len(Campaign(folder.root).front)}
            for command in ("status", "front"):
                seconds, memory = min(measured(command, str(folder.root)) for _ in range(3))
                row |= {f"{command}_seconds": seconds, f"{command}_mb": memory}
            row["next_look_seconds"] = again(folder)
            rows.append(row)
    table = pd.DataFrame(rows).round(3)
    print(table.to_string(index=False))
    if given.write:
        table.to_csv(TABLE, index=False)


if __name__ == "__main__":
    main()
