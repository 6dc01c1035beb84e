"""From the text of a recipe to a plan that a worker can execute: every refusal lives here, no tensor does."""
