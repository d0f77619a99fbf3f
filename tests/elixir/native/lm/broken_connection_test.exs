defmodule DSPex.Native.LM.BrokenConnectionTest do
  # Servers that end a connection in ways that no HTTP server of ours would: a socket, written to by hand.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Native.LM

  @moduletag req: ["OWN-5", "NFR2.1.2"]
  @messages [%{"role" => "user", "content" => "?"}]
  @head "HTTP/1.1 200 OK\r\ncontent-type: "
  @whole @head <> ~s(application/json\r\ncontent-length: 900\r\n\r\n{"choices": [{"message": {"con)
  @event ~s(data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n)
  @stream @head <> "text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

  # Answers each request with the next bytes; then does what is asked with its socket.
  defp server(answers) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, reuseaddr: true])
    {:ok, port} = :inet.port(listener)
    start_supervised!({Task, fn -> Enum.each(answers, &serve(listener, &1)) end}, id: make_ref(), restart: :temporary)
    "http://127.0.0.1:#{port}/v1"
  end

  defp serve(listener, {bytes, ending}) do
    {:ok, socket} = :gen_tcp.accept(listener)
    read_request(socket, "")
    :ok = :gen_tcp.send(socket, bytes)
    finish(ending, socket)
  end

  # What was sent could be lost with the reset; and httpc keeps what came together with the head until more comes.
  defp finish({:reset_after, gate}, socket) do
    receive do
      ^gate -> finish(:reset, socket)
    after
      20 ->
        :ok = :gen_tcp.send(socket, chunk(": a remark\n\n"))
        finish({:reset_after, gate}, socket)
    end
  end

  defp finish(:reset, socket) do
    :ok = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  defp finish(:close, socket), do: :gen_tcp.close(socket)

  defp read_request(socket, seen) do
    with false <- seen =~ ~s("messages":[{"role":"user","content":"?"}]),
         {:ok, bytes} <- :gen_tcp.recv(socket, 0, 30_000),
         do: read_request(socket, seen <> bytes)
  end

  defp chunk(bytes), do: [Integer.to_string(byte_size(bytes), 16), "\r\n", bytes, "\r\n"]
  defp done(text), do: ~s({"choices": [{"message": {"content": "#{text}"}, "finish_reason": "stop"}]})

  defp answer(body),
    do: @head <> "application/json\r\nconnection: close\r\ncontent-length: #{byte_size(body)}\r\n\r\n" <> body

  defp lm(url, retries \\ 0), do: LM.new("openai/test", base_url: url, api_key_env: nil, retries: retries)

  test "a reset before an answer and within one is an error of the LM that may pass" do
    for bytes <- ["", "HTTP/1.1 200 OK\r\ncont", @whole], on_text <- [nil, &send(self(), &1)] do
      url = server([{bytes, :reset}])
      assert {:error, %Error{reason: :lm_error, retryable?: true}} = LM.chat(lm(url), @messages, on_text: on_text)
    end
  end

  test "a reset before anything was handed on is met by the next attempt" do
    url = server([{"", :reset}, {@whole, :reset}, {answer(done("third")), :close}])
    assert {:ok, %{text: "third"}} = LM.chat(lm(url, 2), @messages)
  end

  test "a stream that is reset after its first piece is not begun anew" do
    test = self()
    url = server([{[@stream, chunk(@event)], {:reset_after, :seen}}, {answer(done("never")), :close}])
    [server] = for {_id, pid, _type, _modules} <- supervised(), do: pid

    on_text = fn text ->
      send(test, {:text, text})
      send(server, :seen)
    end

    assert {:error, %Error{reason: :lm_error}} = LM.chat(lm(url, 3), @messages, on_text: on_text)
    assert_received {:text, "one"}
    refute_received {:text, _again}
  end

  @tag req: "OWN-8"
  test "a redirect is an error that names its status, and is not followed" do
    elsewhere = server([{answer(done("elsewhere")), :close}])

    head =
      "HTTP/1.1 307 Temporary Redirect\r\nconnection: close\r\ncontent-length: 0\r\nlocation: #{elsewhere}/chat/completions\r\n\r\n"

    url = server([{head, :close}])
    assert {:error, %Error{reason: :lm_error, retryable?: false} = error} = LM.chat(lm(url), @messages)
    assert error.details["status"] == 307
  end

  defp supervised do
    {:ok, supervisor} = ExUnit.fetch_test_supervisor()
    Supervisor.which_children(supervisor)
  end
end
