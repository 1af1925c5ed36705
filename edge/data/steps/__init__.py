"""Steps that engines share: one file each."""
