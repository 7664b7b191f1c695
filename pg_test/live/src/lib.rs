//! What the live-cluster tests share.
