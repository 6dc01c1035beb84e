"""What operators see of the service: a log line for each request, under an id that follows it everywhere."""
