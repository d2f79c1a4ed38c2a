import os

import pytest

from moosearch.campaign.folder import write_atomically


def test_a_link_stays_a_link(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    write_atomically(link, "new")
    assert (link.is_symlink(), file.read_text()) == (True, "new")
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_pipe_is_written_to_and_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    try:
        write_atomically(pipe, "new")
        assert pipe.is_fifo()
        assert os.read(end, 9) == b"new"
    finally:
        os.close(end)


def test_a_folder_is_never_replaced(tmp_path):
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path, "new")
    assert tmp_path.is_dir()
