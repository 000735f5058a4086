"""A recurrent model behind a handler, as one serves it without a library: torch.nn.LSTM, one request, one call.

python -m benchmarks.peers.plain_server runs/characters --port 9001
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.torch import load_file
from torch import Tensor, nn


class Asked(BaseModel):
    """Texts to score, or prefixes."""

    inputs: list[str]


class Model(nn.Module):
    """The same language model as that of the run, with torch's layer and the run's weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        table, recurrent = weights["input.weight"], {
            name.removeprefix("recurrent."): value for name, value in weights.items() if name.startswith("recurrent.")
        }  # fmt: skip
        layers = sum(name.startswith("weight_ih") for name in recurrent)
        hidden = recurrent["weight_hh_l0"].shape[1]
        self.table = nn.Embedding.from_pretrained(table)
        self.recurrent = nn.LSTM(table.shape[1], hidden, layers)
        self.recurrent.load_state_dict(recurrent)
        self.output = nn.Linear(hidden, len(weights["output.weight"]))
        with torch.no_grad():
            never = torch.zeros(len(weights["output.bias"]))
            never[[0, 2]] = float("-inf")  # padding and the beginning are never predicted
            self.output.weight.copy_(weights["output.weight"])
            self.output.bias.copy_(weights["output.bias"] + never)

    def forward(self, symbols: Tensor) -> Tensor:
        """(T,) symbols, 2 first, to (T, V) log-probabilities of what follows each."""
        vectors = self.table(symbols)
        vectors[0] = 0  # x⟨1⟩ = 0
        return self.output(self.recurrent(vectors)[0]).log_softmax(-1)


def app_of(folder: Path, *, threaded: bool) -> FastAPI:
    """The handler; `threaded` in FastAPI's pool of threads (`def`), otherwise in the event loop (`async def`)."""
    symbols = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))["symbols"]
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    model = Model(load_file(folder / "model.safetensors")).eval()
    app = FastAPI()

    def score(asked: Asked) -> dict[str, list[float]]:
        found = []
        with torch.inference_mode():
            for text in asked.inputs:
                targets = torch.tensor([ids.get(character, 1) for character in text])
                logs = model(torch.cat([torch.tensor([2]), targets[:-1]]))
                found.append(float(logs.gather(-1, targets.unsqueeze(-1)).sum()))
        return {"answers": found}

    def following(asked: Asked) -> dict[str, list[dict[str, float]]]:
        found = []
        with torch.inference_mode():
            for text in asked.inputs:
                read = torch.tensor([2, *(ids.get(character, 1) for character in text)])
                best = model(read)[-1].exp().topk(5)
                pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                found.append({symbols[id]: share for id, share in pairs})
        return {"answers": found}

    if threaded:
        app.post("/score")(score)
        app.post("/next")(following)
        return app

    @app.post("/score")
    async def score_in_the_loop(asked: Asked) -> dict[str, list[float]]:
        await asyncio.sleep(0)
        return score(asked)

    @app.post("/next")
    async def next_in_the_loop(asked: Asked) -> dict[str, list[dict[str, float]]]:
        await asyncio.sleep(0)
        return following(asked)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--threaded", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    uvicorn.run(app_of(given.run, threaded=given.threaded), port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
