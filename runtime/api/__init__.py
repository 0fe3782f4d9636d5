"""The HTTP surfaces: OpenAI, mock, operator, health."""
