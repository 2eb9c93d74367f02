"""The site's own ClientApp, with room for sites that misbehave."""

from __future__ import annotations

from flwr.clientapp import ClientApp

from wardround_client.app import client_app as honest
from wardround_simulations.attackers import misbehave

app = ClientApp(mods=[misbehave])
app.query()(honest.introduce)
app.train()(honest.train)
app.evaluate()(honest.evaluate)
