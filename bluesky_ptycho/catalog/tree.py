"""Steps in the tree of a tiled server, taken with plain containers.

A special client may look up keys in its own way (ours does); here a key is a key.
"""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from .embedded import ROOT_SPEC, RUNS_SPEC


def plain(client: Any) -> Any:
    """Return the container of `client` without any special look-up; searches are kept."""
    from tiled.client.container import Container

    return Container(
        client.context,
        item=client.item,
        structure_clients=client.structure_clients,
        queries=client._queries,
        sorting=client._sorting,
        include_data_sources=client._include_data_sources,
    )


def plain_at(context: Any, path: list[str]) -> Any:
    """Return the plain container at `path`."""
    from tiled.client import from_context
    from tiled.client.container import DEFAULT_STRUCTURE_CLIENT_DISPATCH, Container

    # Our root opens as its scans otherwise.
    clients = ChainMap({ROOT_SPEC["name"]: Container}, DEFAULT_STRUCTURE_CLIENT_DISPATCH["numpy"])
    return plain(from_context(context, structure_clients=clients, node_path_parts=path))


def beside(client: Any) -> list[str]:
    """Return the path where the siblings of `client` lie; for a root its own."""
    return [part for part in client.path_parts[:-1] if part]


def sibling(client: Any, name: str) -> Any | None:
    """Return the container `name` beside `client` (inside, if `client` is the root), or None."""
    from tiled.client import from_context

    above = beside(client)
    if name not in plain_at(client.context, above):
        return None
    return from_context(client.context, structure_clients=client.structure_clients, node_path_parts=[*above, name])


def new_container_of_runs(context: Any, path: list[str], name: str) -> None:
    """Make the container `name` for runs at `path`."""
    from tiled.structures.core import Spec

    plain_at(context, path).create_container(name, specs=[Spec(**RUNS_SPEC)])
