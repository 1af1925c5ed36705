"""Where a model comes from: a checkpoint's folder, the registry, the hub."""
