from edgekit.bundle.locks import DirectoryLock


def test_a_locked_directory_is_refused_until_it_is_released(tmp_path):
    lock = DirectoryLock.acquire(tmp_path)
    assert lock.is_enforced
    assert DirectoryLock.acquire(tmp_path) is None
    lock.release()
    assert not lock.is_enforced
    again = DirectoryLock.acquire(tmp_path)
    assert again is not None
    again.release()


def test_a_lock_follows_its_directory_when_that_is_renamed(tmp_path):
    (tmp_path / "a").mkdir()
    lock = DirectoryLock.acquire(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert DirectoryLock.acquire(tmp_path / "b") is None
    lock.release()


def test_what_is_no_directory_is_not_locked(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "absent"):
        assert DirectoryLock.acquire(tmp_path / name) is None
