"""How a shard's process is started, watched and ended, here or on another machine."""
