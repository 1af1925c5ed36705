"""An artifact in use: how it is opened, and by which strategy it decodes."""
