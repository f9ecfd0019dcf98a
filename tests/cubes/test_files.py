"""Files that are whole or absent, sealed ones, caches, and locks that end with their holder."""

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest

from kdlandscape.cubes import files, locks
from kdlandscape.cubes.files import leftovers, scratch, write
from kdlandscape.cubes.locks import LesserFileSystem, lock
from kdlandscape.cubes.seals import DamagedCache, DamagedFileError, cached, check_seal, read_sealed, write_sealed


def listing(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    monkeypatch.delenv(locks._TOLD, raising=False)
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.0, 0.0))


def test_a_written_file_has_the_modes_that_the_user_wants_and_nothing_is_left_beside_it(tmp_path):
    old = os.umask(0o027)
    try:
        assert write(tmp_path / "a" / "b.txt", lambda temporary: temporary.write_text("whole")) == 5
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b.txt").read_text() == "whole"
    assert (tmp_path / "a" / "b.txt").stat().st_mode & 0o777 == 0o640
    assert listing(tmp_path / "a") == ["b.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("stop")

    write(tmp_path / "a", lambda temporary: temporary.write_text("old"))
    with pytest.raises(RuntimeError, match="stop"):
        write(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert listing(tmp_path) == ["a"]


def test_what_is_being_written_is_no_leftover_and_what_a_killed_writer_left_is_one(tmp_path):
    code = (
        "import sys; from kdlandscape.cubes.files import scratch\n"
        "with scratch(sys.argv[1]): print(1, flush=True); input()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "1\n"
    with scratch(tmp_path) as own:
        assert leftovers(tmp_path) == []
        assert own.is_dir()
    writer.kill()
    writer.communicate()
    assert len(leftovers(tmp_path)) == 1
    assert listing(tmp_path) == []


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40], lambda b: b"", lambda b: b + b"x"])
def test_a_sealed_file_is_read_as_it_was_written_or_not_at_all(damage, tmp_path):
    path = tmp_path / "a"
    write_sealed(path, lambda temporary: temporary.write_bytes(bytes(range(100))))
    assert read_sealed(path) == bytes(range(100))
    check_seal(path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    for read in (read_sealed, check_seal):
        with pytest.raises(
            DamagedFileError, match="a: expected a file with its own checksum at the end, got one that is"
        ):
            read(path)
    for bit in range(0, 8 * len(whole), 7):
        path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        for read in (read_sealed, check_seal):
            with pytest.raises(DamagedFileError):
                read(path)


def test_a_cached_file_is_made_once_and_a_damaged_one_again(tmp_path):
    made = []

    def make(file):
        made.append(1)
        file.write(b"content")

    path = tmp_path / "cache" / "a"
    assert [cached(path, make), cached(path, make), len(made)] == [b"content", b"content", 1]
    path.write_bytes(b"other")
    with pytest.warns(DamagedCache, match="a: expected a file with its own checksum .*; it is made again"):
        assert cached(path, make) == b"content"
    assert [cached(path, make), len(made)] == [b"content", 2]
    assert listing(path.parent) == ["a"]


def test_a_cache_that_cannot_be_written_makes_and_does_not_keep(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("kdlandscape.cubes.seals.lock", refuse)
    with pytest.warns(UserWarning, match="cannot be written"):
        assert cached(tmp_path / "a", lambda file: file.write(b"content")) == b"content"


@pytest.mark.parametrize("soft", [False, True])
def test_a_lock_has_one_holder_and_ends_with_it(soft, tmp_path, monkeypatch):
    if soft:

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.warns(LesserFileSystem, match="this file system has no locks"), lock(tmp_path / "a"):
            pass
    with lock(tmp_path / "a") as ours, lock(tmp_path / "a", wait=False) as theirs:
        assert (ours, theirs) == (True, False)
    assert listing(tmp_path) == []
    code = (
        "import fcntl, sys, time\nfrom kdlandscape.cubes.locks import lock\n"
        + ("def refuse(*_): raise OSError(37, 'none')\nfcntl.flock = refuse\n" if soft else "")
        + "with lock(sys.argv[1]): print(1, flush=True); time.sleep(60)"
    )
    environment = os.environ | {locks._TOLD: "locks"}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout.readline() == "1\n"
    with lock(tmp_path / "a", wait=False) as ours:
        assert not ours
    holder.kill()
    holder.communicate()
    began = time.monotonic()
    with lock(tmp_path / "a") as ours:
        assert ours
    assert time.monotonic() - began < 5
    assert listing(tmp_path) == []


def test_a_soft_lock_of_another_machine_is_held(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "a.held").write_text("elsewhere 1 2")
    with pytest.warns(LesserFileSystem), lock(tmp_path / "a", wait=False) as ours:
        assert not ours


class TestPoorFileSystems:
    def test_folders_that_cannot_be_flushed_are_one_warning_and_a_written_file(self, tmp_path, monkeypatch):
        original = os.fsync

        def fsync(descriptor):
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.EINVAL, "Invalid argument")
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.warns(LesserFileSystem, match="this file system cannot flush folders") as warned:
            write(tmp_path / "a", lambda temporary: temporary.write_text("1"))
        assert len(warned) == 1
        write(tmp_path / "b", lambda temporary: temporary.write_text("2"))
        assert (tmp_path / "b").read_text() == "2"

    @pytest.mark.parametrize("operation", ["fsync", "replace", "mkdir"])
    def test_an_error_that_passes_is_met_by_another_attempt(self, operation, tmp_path, monkeypatch):
        original, calls = getattr(os, operation), []

        def fail_twice(*arguments, **settings):
            calls.append(1)
            if len(calls) <= 2:
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments, **settings)

        monkeypatch.setattr(os, operation, fail_twice)
        write_sealed(tmp_path / "a", lambda temporary: temporary.write_text("1"))
        assert read_sealed(tmp_path / "a") == b"1"
        assert listing(tmp_path) == ["a"]

    def test_an_error_that_stays_is_raised(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            write(tmp_path / "a", lambda temporary: temporary.write_text("1"))
        assert listing(tmp_path) == []
