"""What is drawn while a campaign runs."""

import io

from rich.console import Console

from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.plan import make_plan
from moosearch.campaign.progress import TerminalProgress
from moosearch.campaign.run import run
from moosearch.errors import Place
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
