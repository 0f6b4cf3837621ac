"""The paper's tables and figures of finite networks, at whatever size the machine allows."""
