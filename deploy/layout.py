"""The run directory: what stands where in `.citysense/`.

config/   configuration of each program, written anew at each start
demo/     what `city-simulator write-demo` wrote: field devices, fleet, agents
broker/   rendered broker files, and what the broker keeps
secrets/  tokens and passwords, one a file, 0600, made once
data/     databases and stores: kept from one run to the next
log/      NAME.log of each program; NAME.log.1 is the run before
lock      held by the supervisor; holds its pid
run.json  what runs: name, pid, address, log
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FOLDERS: Final = ("config", "demo", "broker", "secrets", "data", "log")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths in a run directory; `root` is absolute."""

    root: str

    def config(self, name: str) -> str:
        """Configuration file of a program."""
        return f"{self.root}/config/{name}.toml"

    def demo(self, file_name: str = "") -> str:
        """A file of the demonstration city, or its folder."""
        return f"{self.root}/demo/{file_name}".rstrip("/")

    def broker(self, file_name: str = "") -> str:
        """A rendered broker file, or their folder."""
        return f"{self.root}/broker/{file_name}".rstrip("/")

    def data(self, name: str) -> str:
        """A database or store."""
        return f"{self.root}/data/{name}"

    def token(self, name: str) -> str:
        """Bearer token of a principal."""
        return f"{self.secrets}/{name}.token"

    def password(self, user_name: str) -> str:
        """MQTT password of a user."""
        return f"{self.secrets}/{user_name}.mqtt-password"

    def log(self, name: str) -> str:
        """Log of a program."""
        return f"{self.root}/log/{name}.log"

    @property
    def secrets(self) -> str:
        """Where tokens and passwords stand."""
        return f"{self.root}/secrets"

    @property
    def lock(self) -> str:
        """The supervisor's lock."""
        return f"{self.root}/lock"

    @property
    def state(self) -> str:
        """What runs, as JSON."""
        return f"{self.root}/run.json"
