"""Code that protoc made of `proto/*.proto` (`make proto`)."""
