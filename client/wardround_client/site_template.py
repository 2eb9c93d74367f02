"""The ``site.toml`` that a new site starts with: what must be filled in, and all defaults."""

from __future__ import annotations

TEMPLATE = """\
# A hospital's settings. Lines with # are defaults or examples: take the # away to use them.
# docs/operating-a-site.md explains each key; docs/site-data.md those of [data].

[site]
name = {name}
keystore = "keystore.json"

# The contract that you believe, on the chain that you believe. Endpoints stand in for each other;
# the guard reads there what it checks, so name nodes that you trust.
[chain]
endpoints = [{endpoint}]
chain_id = {chain_id}
contract = {contract}

# Where the coordinator's SuperLink is, and the certificates that its own must lead to.
# [coordinator]
# address = "link.example.org:8443"
# root_certificate = "coordinator.pem"

# A coordinator that takes over when the first is silent; one such table for each.
# [[standby]]
# address = "link-b.example.org:8443"
# root_certificate = "coordinator-b.pem"

# What may leave, whatever a study asks for. A change counts once `wardround site policy` has signed
# it with the site's key and the guard was restarted.
[policy]
# max_update_norm = 10.0
# metrics = ["train_loss"]
# evaluate = true
# weight_step = 1
# measure_rows = 20
# measure_class_rows = 5
# measure_noise = 4.0
# measured_models = 5
# max_epsilon = 8.0
# delta = 1e-6
# accept_solvable = ["the name of a study whose updates may give rows away"]
# coordinators = ["0x1111111111111111111111111111111111111111"]
# auditors = ["0x3333333333333333333333333333333333333333"]
# tokens = ["0x2222222222222222222222222222222222222222"]
# recording = ["full"]
# rules = ["mean", "clipped_mean"]
# scorings = ["examples"]
# min_auditor_quorum = 1
# min_challenge_seconds = 86400
# min_objection_seconds = 3600
# min_round_seconds = 3600
# min_grace_seconds = 600
# min_registration_seconds = 600
# min_demand_seconds = 21600
# max_challenge_seconds = 604800
# max_round_seconds = 86400
# max_grace_seconds = 86400
# max_demand_seconds = 604800
# max_lifetime_seconds = 31536000
# min_bond = "10000000000000000000"
# min_reward_per_round = "1000000000000000000"
# min_attesting_fee = "100000000000000000"
# max_closing_fee = "1000000000000000000"
# max_deposit = "1000000000000000000"
# max_update_bound = 16.0
# sandbox = "required"
# trainer_memory_gib = 8

# Your own table. The rows stay where they are.
[data]
name = "patients"
# The column that names the patient: all rows of a patient are trained on, or all measured on.
# group = "patient_id"
# missing = ["", "?"]
# on_missing = "drop"
# ignore = ["surname"]
# scaling = "range"

[data.source]
type = "csv"
path = "patients.csv"

[data.label]
column = "outcome"
classes = [[0], [1]]

[[data.features]]
name = "age"
type = "numeric"
range = [0, 120]
"""
