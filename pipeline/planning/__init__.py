"""Plans embedding tables on TPU slices: `table_set` and `experiment_tables` read, `plan` computes, `printing` shows."""
