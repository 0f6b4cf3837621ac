"""The paper's tables and figures of finite networks, at a size that fits the machine."""
