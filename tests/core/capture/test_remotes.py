"""What is kept of an address, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.capture.remotes import without_secrets


@pytest.mark.parametrize(
    ("kept", "remote"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://github.com/o/r", "https://ghp_SECRET@github.com/o/r"),
        ("https://host.org/x.git", "https://user:p@ss@host.org/x.git"),
        ("https://host.org/x", "https://u:pa/ss@host.org/x"),
        ("https://host.org/x", "https://u:p@a/ss@host.org/x"),
        ("https://host.org/x", "https://u:pa?ss#@host.org/x"),
        ("https://host.org/x", "https://:token@host.org/x"),
        ("http://host.org:8080/x", "http://oauth2:token@host.org:8080/x"),
        ("HTTPS://host.org/x", "HTTPS://token@host.org/x"),
        ("https://host.org/x.git", "https://host.org/x.git?private_token=abc"),
        ("https://host.org", "https://host.org?private_token=abc"),
        ("https://host.org/x", "https://host.org/x?mail=a@b"),
        ("https://host.org/x", "https://host.org/x#token"),
        ("https://host.org/@team/x", "https://host.org/@team/x"),
        ("https://[::1]:80/@team/x", "https://[::1]:80/@team/x"),
        ("ftp://host.org/x", "ftp://u:p@host.org/x"),
        ("codecommit::eu://r", "codecommit::eu://profile@r"),
        ("ssh://git@host.org:22/x", "ssh://git@host.org:22/x"),
        ("ssh://git@host.org/x", "ssh://git:secret@host.org/x"),
        ("git+ssh://git@host.org/x", "git+ssh://git:s@c/ret@host.org/x"),
        ("git@host.org:o/r.git", "git@host.org:o/r.git"),
        ("/srv/git/a@b?c.git", "/srv/git/a@b?c.git"),
        ("file:///srv/git/a@b.git", "file:///srv/git/a@b.git"),
    ],
)
def test_nothing_that_lets_anybody_in_is_kept(kept: str, remote: str) -> None:
    assert kept == without_secrets(remote)


@given(st.text(st.characters(codec="ascii")))
def test_no_part_of_any_password_is_kept(password: str) -> None:
    assert "https://host.org/r" == without_secrets(f"https://ada:{password}x@host.org/r")
