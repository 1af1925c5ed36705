"""What a conversion makes: a folder of a target's files, and the manifest that ties them together."""
