"""Checks whether other users may change a file or directory, so that its content cannot be trusted."""

import grp
import os
import pwd
import stat
from functools import cache

MAX_SYMLINKS = 40
"""The links that a path may lead through, as in Linux."""
_ACL = "system.posix_acl_access"


def find_unsafe_part(path: str) -> str | None:
    """Returns the first part of a path that other users may change or replace, None if there is none.

    Each directory and symbolic link on the path must belong to this user or root. Other users may not write to any of
    them, except to a directory with the sticky bit before the last part. A part that does not exist is safe.

    Raises:
        OSError: a part cannot be read, or symbolic links form a loop.
    """
    names, current, links = _names(os.path.abspath(path)), "/", 0  # noqa: PTH100  # links stay
    while names:
        name = names.pop(0)
        if name == "..":
            current = os.path.dirname(current)  # noqa: PTH120
            continue
        candidate = os.path.join(current, name)  # noqa: PTH118
        try:
            status = os.lstat(candidate)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            if not _is_trusted(status):
                return candidate
            if (links := links + 1) > MAX_SYMLINKS:
                raise OSError(f"{path}: too many symbolic links")
            target = os.readlink(candidate)  # noqa: PTH115
            names, current = _names(target) + names, "/" if target.startswith("/") else current
            continue
        is_sticky = bool(names) and stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
        if not _is_trusted(status) or (_is_writable_by_others(candidate, status) and not is_sticky):
            return candidate
        current = candidate
    return None


def is_safe(handle: int) -> bool:
    """Returns whether an open file is a regular file of this user or root that other users may not write."""
    status = os.fstat(handle)
    return stat.S_ISREG(status.st_mode) and _is_trusted(status) and not _is_writable_by_others(handle, status)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _is_trusted(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _is_writable_by_others(path: str | int, status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    return not _is_private(status.st_gid) or (hasattr(os, "listxattr") and _ACL in os.listxattr(path))


@cache
def _is_private(group_id: int) -> bool:
    """Returns whether a group has no members except this user and root."""
    try:
        group, user = grp.getgrgid(group_id), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return (group_id == 0 or group.gr_name == user) and set(group.gr_mem) <= {user, "root"}
