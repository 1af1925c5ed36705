"""What the machine gives: processors, memory, processes apart, folders, switches of libraries."""
