"""Judges whether other users may change a file or directory, so that its content is not to be trusted."""

import grp
import os
import pwd
import stat
from functools import cache

_MAX_LINKS = 40
_ACL = "system.posix_acl_access"


def first_unsafe(path: str) -> str | None:
    """Returns the first part of a path that other users may change or replace, None if there is none.

    Each directory and each symbolic link on the way must belong to this user or root. Others may write in no directory
    but one with the sticky bit, and not in the last. What does not exist yet is passed over.

    Raises:
        OSError: a part cannot be read, or symbolic links run in a circle.
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
            if not _is_own(status):
                return candidate
            if (links := links + 1) > _MAX_LINKS:
                raise OSError(f"{path}: too many symbolic links")
            target = os.readlink(candidate)  # noqa: PTH115
            names, current = _names(target) + names, "/" if target.startswith("/") else current
            continue
        is_sticky = bool(names) and stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
        if not _is_own(status) or (_others_may_write(candidate, status) and not is_sticky):
            return candidate
        current = candidate
    return None


def is_safe(handle: int) -> bool:
    """Returns whether an open file is a regular file of this user or root that others may not write."""
    status = os.fstat(handle)
    return stat.S_ISREG(status.st_mode) and _is_own(status) and not _others_may_write(handle, status)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _others_may_write(path: str | int, status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    return not _is_private(status.st_gid) or (hasattr(os, "listxattr") and _ACL in os.listxattr(path))


@cache
def _is_private(group_id: int) -> bool:
    """Returns whether a group holds nobody but this user and root."""
    try:
        group, user = grp.getgrgid(group_id), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return (group_id == 0 or group.gr_name == user) and set(group.gr_mem) <= {user, "root"}
