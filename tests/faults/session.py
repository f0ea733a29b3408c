"""A session in a process of its own, to be killed: ``python -m tests.faults.session KIND CATALOG UID SETTINGS``.

KIND "follow" reconstructs a scan that somebody else writes into the catalog; "scan" writes it too, from documents in a
file of JSON lines beside the catalog.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bluesky_ptycho import LivePtycho, LiveSettings, open_catalog, resume

PACE_S = 0.04


def main(kind, directory, uid, settings):
    settings = LiveSettings.from_mapping(json.loads(settings))
    with open_catalog(Path(directory)) as catalog:
        if kind == "follow":
            resume(uid, catalog, settings=settings, patience_s=30.0)
            return
        with LivePtycho(settings, catalog=catalog) as live:
            writer = catalog.raw_writer(batch=4, flush_s=0.1)
            for line in Path(directory, "documents.jsonl").read_text().splitlines():
                name, doc = json.loads(line)
                writer(name, doc)
                live(name, doc)
                while live.progress().phase == "warming up":
                    time.sleep(0.05)
                time.sleep(PACE_S * (name == "event"))
            live.wait(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
