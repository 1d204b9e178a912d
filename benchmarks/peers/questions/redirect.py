"""The API answers with a redirect to another origin."""

from __future__ import annotations

from server import call_record

from ..bench import Answer, Bench, Cell


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    for name in bench.names:
        home, elsewhere = bench.farm.house(), bench.farm.house()
        target = bench.wire(elsewhere).record_url.replace("127.0.0.1", "localhost")
        async with bench.peer(name, home) as peer:
            await peer.authorization()
            home.tell("fail_next", endpoint="api", fault={"status": 307, "headers": {"Location": target}})
            await peer.post(peer.wire.record_url, call_record())
        stats = elsewhere.tell("stats")
        followed = sum(stats["statuses"].values()) > 0
        travelled = "yes" if stats["with_header"] else "no"
        rows[name] = [travelled, "yes" if followed else "no"]
    return Answer(
        8,
        "A redirect to another origin: does the token travel?",
        "A 307 from the API to another host name and port. The bearer token must not get there.",
        ["does the header travel?", "is the redirect followed?"],
        rows,
    )
