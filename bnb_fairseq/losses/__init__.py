"""Losses: functions on tensors that know nothing of fairseq."""
