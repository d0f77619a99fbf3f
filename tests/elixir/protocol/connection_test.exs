defmodule DSPex.Protocol.ConnectionTest do
  # The connection without any process: bytes in, events out.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Protocol.Connection
  alias DSPex.Protocol.Message
  alias DSPex.Wire.Frame

  defp frame(json), do: IO.iodata_to_binary(Frame.encode(json))

  defp sent(frame) do
    {[frame: body], _decoder} = Frame.decode(Frame.new(), IO.iodata_to_binary(frame))
    Message.decode(body)
  end

  defp feed(connection, jsons), do: Connection.receive_bytes(connection, Enum.map_join(jsons, &frame/1))

  defp ready(options \\ []) do
    {_frame, connection} = Connection.initialize(Connection.new(options))
    id = 4_503_599_627_370_496
    answer = ~s({"jsonrpc":"2.0","id":#{id},"result":{"protocol_version":1,"limits":{"max_frame_bytes":1000}}})
    {events, connection} = feed(connection, [answer, ~s({"jsonrpc":"2.0","method":"ready","params":{"boot_ms":1}})])
    assert [{:initialized, %{"protocol_version" => 1}}, {:ready, %{"boot_ms" => 1}}] = events
    connection
  end

  @tag req: "FR2.2.3"
  test "initialize says what the client speaks, with the token when there is one" do
    {frame, _connection} =
      Connection.initialize(Connection.new(cap: 5_000, encoding: :msgpack), token: "t", version: "1.2.3")

    assert {:request, _id, "initialize", params} = sent(frame)
    assert params["protocol_versions"] == [1]
    assert params["client"] == %{"name" => "dspex", "version" => "1.2.3"}
    assert params["limits"] == %{"max_frame_bytes" => 5_000}
    assert params["token"] == "t"
    assert params["capabilities"] == %{"tools" => true}
  end

  @tag req: "FR2.2.2"
  test "initialize says above which size bytes are wanted as attachments, when that was chosen" do
    {frame, _connection} = Connection.initialize(Connection.new(cap: 5_000, attach: 0))
    assert {:request, _id, "initialize", %{"limits" => limits}} = sent(frame)
    assert limits == %{"max_frame_bytes" => 5_000, "attachment_bytes" => 0}
  end

  @tag req: "FR2.2.3"
  test "the handshake leads to ready, and the worker's cap is kept" do
    connection = ready()
    assert connection.phase == :ready
    assert Connection.accepts?(connection, 1_000)
    refute Connection.accepts?(connection, 1_001)
  end

  test "any split of the bytes gives the same events" do
    connection = Connection.register(ready(), 5, :tag, 10)

    bytes =
      Enum.map_join(
        [
          ~s({"jsonrpc":"2.0","method":"stream/event","params":{"id":5,"seq":0,"event":{}}}),
          ~s({"jsonrpc":"2.0","id":5,"result":{}}),
          ~s({"jsonrpc":"2.0","id":9,"result":{}})
        ],
        &frame/1
      )

    {whole, _connection} = Connection.receive_bytes(connection, bytes)
    assert [{:event, 5, :tag, _}, {:response, 5, :tag, _}, {:stray, _}] = whole

    {bytewise, _connection} =
      for(<<byte <- bytes>>, do: <<byte>>)
      |> Enum.reduce({[], connection}, fn byte, {events, connection} ->
        {new, connection} = Connection.receive_bytes(connection, byte)
        {events ++ new, connection}
      end)

    assert bytewise == whole
  end

  @tag req: ["FR2.2.4", "OWN-1"]
  test "cancel forgets the request and swallows its late answer and events" do
    connection = Connection.register(ready(), 5, :tag, 10)
    {frame, connection} = Connection.cancel(connection, 5)
    assert {:notification, "$/cancelRequest", %{"id" => 5}} = sent(frame)
    event = ~s({"jsonrpc":"2.0","method":"stream/event","params":{"id":5,"seq":0,"event":{}}})
    assert {[], connection} = feed(connection, [event, ~s({"jsonrpc":"2.0","id":5,"result":{}})])
    assert {[{:stray, _what}], connection} = feed(connection, [~s({"jsonrpc":"2.0","id":5,"result":{}})])
    assert connection.stray == 1
    assert {[], ^connection} = Connection.cancel(connection, 5)
  end

  test "what is cancelled and never answered does not pile up" do
    connection =
      Enum.reduce(1..10_050, ready(), fn id, connection ->
        {_frame, connection} = connection |> Connection.register(id, :tag) |> Connection.cancel(id)
        connection
      end)

    assert map_size(connection.cancelled) <= 10_000
  end

  @tag req: "FR2.2.4"
  test "credit counts events, grants add up, and an event without credit is a flood" do
    event = ~s({"jsonrpc":"2.0","method":"stream/event","params":{"id":5,"seq":0,"event":{}}})
    connection = Connection.register(ready(), 5, :tag, 1)
    {frame, connection} = Connection.grant(connection, 5, 1)
    assert {:notification, "stream/credit", %{"id" => 5, "n" => 1}} = sent(frame)

    assert {[{:event, 5, _, _}, {:event, 5, _, _}, {:flood, 5, :tag}], _connection} =
             feed(connection, [event, event, event])

    assert {[], _connection} = Connection.grant(connection, 6, 1)
    assert {[{:flood, 5, :tag}], _connection} = connection |> Connection.register(5, :tag) |> feed([event])
  end

  test "garbage is fatal, malformed frames are reported, refused handshakes end it" do
    assert {[{:fatal, %Error{reason: :protocol_error}}], %{phase: :failed}} =
             Connection.receive_bytes(ready(), "Traceback")

    assert {[{:fatal, %Error{message: message}}], _} = Connection.receive_bytes(ready(), <<255, 255, 255, 255>>)
    assert message =~ "4294967295"
    assert {[{:send, frame}, {:send, _other}], _} = Connection.receive_bytes(ready(cap: 200), <<0::32, 201::32>>)
    assert {:response, nil, {:error, %Error{reason: :protocol_error}}} = sent(frame)
    assert {[{:send, _frame}], _} = feed(ready(), ["[1]"])
    assert {[{:send, frame}], _} = feed(ready(), [~s({"jsonrpc":"2.0","id":3,"method":"who/are-you"})])
    assert {:response, 3, {:error, %Error{reason: :not_found}}} = sent(frame)

    id = 4_503_599_627_370_496
    {_frame, opened} = Connection.initialize(Connection.new())

    assert {[{:refused, %Error{reason: :unavailable}}], _} =
             feed(opened, [~s({"jsonrpc":"2.0","id":#{id},"result":{"protocol_version":7}})])

    assert {[{:refused, %Error{}}], _} =
             feed(opened, [~s({"jsonrpc":"2.0","id":#{id},"error":{"code":1,"message":"no"}})])

    # A truncated answer is no answer: it is reported, and the handshake runs into its time.
    assert {[{:send, _frame}], _} = feed(opened, [~s({"jsonrpc":"2.0","id":#{id},"resu)])
  end

  test "ping and shutdown are requests of the connection itself" do
    {frame, connection} = Connection.ping(ready())
    assert {:request, id, "ping", %{}} = sent(frame)
    assert {[{:pong}], connection} = feed(connection, [~s({"jsonrpc":"2.0","id":#{id},"result":{}})])
    {frame, connection} = Connection.shutdown(connection, 100)
    assert {:request, id, "shutdown", %{"grace_ms" => 100}} = sent(frame)
    assert connection.phase == :draining
    assert {[], _connection} = feed(connection, [~s({"jsonrpc":"2.0","id":#{id},"result":{}})])
  end

  @tag req: "OWN-6"
  test "tool calls belong to a request in flight and are answered once" do
    call =
      ~s({"jsonrpc":"2.0","id":1,"method":"tool/call","params":{"tool":"t","arguments":{},"call_id":"c","request_id":5}})

    connection = Connection.register(ready(), 5, :tag)
    assert {[{:tool_call, 1, :tag, 5, %{"tool" => "t"}}], connection} = feed(connection, [call])

    assert {[{:tool_cancel, 1}], connection} =
             feed(connection, [~s({"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}})])

    assert {true, connection} = Connection.take_tool_call(connection, 1)
    assert {false, _connection} = Connection.take_tool_call(connection, 1)
    assert {:response, 1, {:ok, %{"value" => [1]}}} = sent(Connection.tool_frame(:msgpack, 1_000, 1, {:ok, [1]}))

    assert {:response, 1, {:error, %Error{reason: :limit_exceeded}}} =
             sent(Connection.tool_frame(:json, 10, 1, {:ok, "long enough"}))
  end

  @tag req: ["OWN-6", "NFR2.2.1"]
  test "a tool call with a _meta of the wrong form, or of no shape at all, is refused under its id" do
    connection = Connection.register(ready(), 5, :tag)

    for {name, values} <- %{
          "deadline_ms" => ["-1", "1.5", ~s("1"), "true"],
          "credit" => ["-1"],
          "stream" => ["1"],
          "session" => ["5", ~s(""), ~S("a\nb"), ~s("#{String.duplicate("x", 257)}")],
          "tenant" => ["[]"],
          "idempotency_key" => ["{}"],
          "traceparent" => ["5"],
          "within" => [~s("s"), "[1]"]
        },
        value <- values do
      params = ~s({"tool":"t","arguments":{},"call_id":"c","request_id":5,"_meta":{"#{name}":#{value}}})
      assert {:response, 1, {:error, error}} = refused(connection, params)
      assert error.reason == :invalid_request
      assert error.message =~ "_meta.#{name}"
    end

    for params <- [~s({"_meta":[]}), "[]", "5", ~s({"tool":5}), "{}"] do
      assert {:response, 1, {:error, %Error{reason: :invalid_request}}} = refused(connection, params)
    end
  end

  @tag req: ["FR2.2.3", "NFR2.2.1"]
  test "methods that no client has are answered, and cancels of what is not in flight are told and do nothing" do
    connection = ready()
    assert {[{:send, frame}], ^connection} = feed(connection, [~s({"jsonrpc":"2.0","id":3,"method":"rm"})])
    assert {:response, 3, {:error, %Error{reason: :not_found, message: message}}} = sent(frame)
    assert message =~ "rm"

    for id <- ["3", "-1", ~s("x"), "null", "[]"] do
      cancel = ~s({"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":#{id}}})
      assert {[{:notification, "$/cancelRequest", _params}], ^connection} = feed(connection, [cancel])
    end
  end

  @tag req: ["OWN-6", "FR2.2.3"]
  test "a tool call whose id is in flight already is refused under none, and does not disturb the first" do
    call =
      ~s({"jsonrpc":"2.0","id":1,"method":"tool/call","params":{"tool":"t","arguments":{},"call_id":"c","request_id":5}})

    connection = Connection.register(ready(), 5, :tag)
    assert {[{:tool_call, 1, :tag, 5, _params}, {:send, frame}], connection} = feed(connection, [call, call])
    assert {:response, nil, {:error, %Error{reason: :invalid_request, details: %{"id" => 1}}}} = sent(frame)
    assert {true, _connection} = Connection.take_tool_call(connection, 1)
  end

  defp refused(connection, params) do
    call = ~s({"jsonrpc":"2.0","id":1,"method":"tool/call","params":#{params}})
    assert {[{:send, frame}], ^connection} = feed(connection, [call])
    sent(frame)
  end
end
