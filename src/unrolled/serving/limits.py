"""The bounds of a server: everything that a caller could make large has one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one server takes on, at most.

    Attributes:
        head_seconds: for a request's head to arrive.
        body_bytes: of a request's body, or of a message over a WebSocket. body_seconds: for it to arrive.
        sequences: in one request. symbols: of one text, or timesteps of one sequence; and drawn for one sample.
        queue: sequences that wait or run, of all requests together; beyond it 503.
        per_client: requests of one address at the same time; beyond it 429. Twice as many connections of it are open.
        connections: requests and WebSockets at the same time; beyond it 503. Twice as many connections are open.
        request_seconds: for one answer, and for some of one to be read. sample_seconds: for one that is streamed.
        streams: held here; the one that was not used for longest makes room. stream_seconds: without an append.
        token_seconds: how old a state that travels with the client may be.
        batch: sequences in one call of a model's layers. wait_seconds: for others to join it.
        turn_positions: timesteps times sequences in one call; what is longer goes on in another turn.
        long: symbols from which a sequence that has to be read at once goes to the lane for long ones.
        answer_numbers: numbers in an answer that shows gates, attention or a search.
    """

    head_seconds: float = 10.0
    body_bytes: int = 2**20
    body_seconds: float = 20.0
    sequences: int = 256
    symbols: int = 20_000
    queue: int = 4_096
    per_client: int = 1_024
    connections: int = 2_048
    request_seconds: float = 60.0
    sample_seconds: float = 300.0
    streams: int = 16_384
    stream_seconds: float = 900.0
    token_seconds: float = 86_400.0
    batch: int = 128
    wait_seconds: float = 0.002
    turn_positions: int = 2_048
    long: int = 512
    answer_numbers: int = 2_000_000
