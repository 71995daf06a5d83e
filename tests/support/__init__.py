"""Tools that several test modules share: servers, clients, expected replies, real peers."""
