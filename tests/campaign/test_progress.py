"""What is drawn while a campaign runs."""

import dataclasses
import io

from rich.console import Console

from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.observer import Evaluated, GenerationFinished, GenerationStarted, Retried, Started
from moosearch.cli.progress import TerminalProgress
from moosearch.errors import Place
from moosearch.evaluators import Begun, EpochDone, Job, Outcome
from moosearch.pareto import Front
from moosearch.plan.plan import make_plan
from moosearch.run.run import run
from moosearch.run.stop import Stop
from moosearch.space.files import Document


def draw(data, folder, *, terminal):
    """Run a campaign under the progress display; return all text, without control codes."""
    data["campaign"] |= {"name": "tiny"}
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    with TerminalProgress(console) as progress:
        run(make_plan(Document(data, Place())), CampaignFolder(folder), progress)
        with console.capture() as capture:
            console.print(progress._draw())
        last = capture.get()
    return stream.getvalue(), last


def test_a_pipe_gets_a_line_a_generation(tiny, tmp_path):
    text, _ = draw(tiny(), tmp_path / "c", terminal=False)
    lines = text.splitlines()
    assert lines[0] == "tiny: 2 x 4 candidates; 1 at a time"
    assert len(lines) == 3
    assert lines[1].startswith("generation 1/2: 4 candidates, 0 failed, front ")
    assert "left" in lines[1]
    assert "left" not in lines[2]


def test_a_terminal_gets_a_panel(tiny, tmp_path, finished):
    text, last = draw(tiny(), tmp_path / "c", terminal=True)
    assert "generation 1/2" in text
    assert "8/8" in last
    assert "running 0" in last
    assert "failed 0" in last
    assert f"hypervolume {finished.front.hypervolume():.4f}" in last
    assert f"best flops {finished.front.best('flops').objectives['flops']:,.0f}" in last


def test_going_on_says_what_is_known(tiny, tmp_path):
    draw(tiny(), tmp_path / "c", terminal=False)
    text, _ = draw(tiny(), tmp_path / "c", terminal=False)
    assert "8 of them known already" in text
    assert "left" not in text


def display(tiny, finished, *, terminal, stop=None):
    """Return a display of a campaign that started; what it has drawn, and draws now."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    progress = TerminalProgress(console, stop)
    progress(Started(finished.header, 0, 2))

    def now():
        with console.capture() as capture:
            console.print(progress._draw())
        return capture.get()

    return progress, stream, now


def test_what_runs_is_what_begun(tiny, finished):
    progress, _, now = display(tiny, finished, terminal=True)
    one, two = (Job(e.candidate) for e in finished.evaluations[:2])
    for job in (one, two):
        progress(Begun(job, "h", 1))
    progress(EpochDone(one, 9, {"epoch": 4.0}, replicate=1, replicates=2))
    assert "running 2" in now()
    assert f"{one.candidate.id} epoch 4/9 of training 2" in now()
    assert "tried again" not in now()
    progress(Evaluated(finished.evaluations[0]))
    assert "running 1" in now()
    assert one.candidate.id not in now()


def test_a_further_try_is_shown(tiny, finished):
    progress, stream, now = display(tiny, finished, terminal=False)
    job = Job(finished.evaluations[0].candidate)
    lost = dataclasses.replace(finished.evaluations[0], status="failed", error="x\nWorkerDied: [gone]")
    progress(Begun(job, "h", 1))
    progress(Retried(Outcome(lost, job)))
    assert "tried again 1" in now()
    assert "running 0" in now()
    progress(Begun(dataclasses.replace(job, attempt=2), "h", 2))
    assert f"{job.candidate.id} attempt 2" in now()
    said = f"candidate {job.candidate.id} is tried again, attempt 1 failed: WorkerDied: [gone]"
    assert said in stream.getvalue()


def test_stopping_is_shown(tiny, finished):
    stop = Stop()
    _, _, now = display(tiny, finished, terminal=True, stop=stop)
    assert "stopping" not in now()
    stop.request()
    assert "stopping: what runs is finished" in now()


def test_a_search_without_generations_counts_what_is_done(tiny, finished):
    """A steady-state search starts no generation, and knows of some whose turn has not come."""
    progress, stream, now = display(tiny, finished, terminal=False)

    def generation_finished(number, evaluations):
        return GenerationFinished(number, evaluations, Front.of(evaluations, finished.header.objectives))

    progress(GenerationStarted(1, ()))
    for evaluation in finished.evaluations[:6]:
        progress(Evaluated(evaluation))
    progress(generation_finished(1, finished.evaluations[:4]))
    assert "6/8" in now()
    assert "generation 2/2" in now()
    assert "generation 1/2: 4 candidates, 0 failed" in stream.getvalue()
    progress(generation_finished(2, finished.evaluations))
    assert "8/8" in now()
    assert "generation 2/2" in now()
