"""POST /generate behind its route: prompts to the requests that servers know, their answers to outputs."""
