"""The micro-kernel under every fast matrix product, and the sizes it works in on this machine."""
