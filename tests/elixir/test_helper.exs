# Messages are waited for as long as a busy machine may need; nothing is measured by them.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000, timeout: 240_000)
