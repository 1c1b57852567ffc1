"""All of the paper's claims. Light: importing this imports neither numpy nor pandas."""

from __future__ import annotations

from sgdnoise.claims import constant_epoch, constant_step, other_networks, unlimited
from sgdnoise.study.config import Config

CLAIMS = sorted(
    constant_epoch.CLAIMS + other_networks.CLAIMS + constant_step.CLAIMS + unlimited.CLAIMS,
    key=lambda claim: (int(claim.name.rstrip("abc")), claim.name),
)
NAMES = [claim.name for claim in CLAIMS]


def to_decide(config: Config) -> list[str]:
    """List the claims that `decide` adds seeds for. A ValueError names one that there is not."""
    wanted = config["decide"]["claims"] if config["decide"] else []
    if strange := set(wanted) - set(NAMES) if wanted != "all" else set():
        raise ValueError(f"config: decide.claims: there is no claim {min(strange)!r}; there are: {', '.join(NAMES)}")
    return NAMES if wanted == "all" else wanted
