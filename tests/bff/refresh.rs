//! Access tokens renewed unseen: many calls, many tabs, one request.
