"""AWS SDK spans (Bedrock): how often a request was sent again."""

from ingest.conventions.base import Convention

CONVENTION = Convention(name="aws_sdk", numbers={"retries": ("retry_attempts", "aws.retry_attempts")})
