//! API calls through the server to the sample API.
