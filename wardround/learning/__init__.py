"""What is learnt: models, local training, metrics, data sets, export."""
