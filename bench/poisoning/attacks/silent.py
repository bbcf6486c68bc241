"""Silent: sends nothing. What is lost then is the attackers' data, and no defence can give that back."""

from __future__ import annotations

from bench.poisoning.attack import Attack

ATTACK = Attack(name="silent", silent=True)
