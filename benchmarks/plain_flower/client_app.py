"""Trains and measures, as in Flower's template."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from task import network, rows_of, train

app = ClientApp()


@app.train()
def train_model(message: Message, context: Context) -> Message:
    """Train the model that came, and answer with all its parameters."""
    model = network(context.run_config)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    rows, labels = rows_of(context.run_config, int(context.node_config["partition-id"]), "rows")
    train(model, rows, labels)
    metrics = MetricRecord({"num-examples": len(rows)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate_model(message: Message, context: Context) -> Message:
    """Count on the test rows how often the model is right."""
    model = network(context.run_config)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    site = int(context.node_config["partition-id"])
    rows, labels = rows_of(context.run_config, site, "test-rows")
    with torch.no_grad():
        right = ((model(rows) > 0).float() == labels).float().mean().item()
    metrics = MetricRecord({"accuracy": right, "num-examples": len(rows)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
