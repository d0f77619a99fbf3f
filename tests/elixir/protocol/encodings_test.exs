defmodule DSPex.Protocol.EncodingsTest do
  # Envelopes in JSON, in MessagePack and in multipart bodies around both.
  use ExUnit.Case, async: true

  alias DSPex.Protocol.Message
  alias DSPex.Test.Values
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Multipart
  alias DSPex.Wire.Payload

  @ordered %Limits{maps: :ordered}
  @encodings [:json, :msgpack]
  @ids [0, 1, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, 9_007_199_254_740_991]

  defp payload(encoding, members, attach \\ :infinity) do
    {:ok, payload} = Payload.encode(encoding, members, %Limits{attach: attach})
    payload
  end

  defp body(iodata), do: IO.iodata_to_binary(iodata)

  @tag req: ["FR2.2.1", "FR2.2.2"]
  test "a request comes back whole in every encoding, with large values inline or attached" do
    for encoding <- @encodings, attach <- [:infinity, 10], seed <- 1..100, id = Enum.at(@ids, rem(seed, 11)) do
      value = Values.value(seed, 3)
      meta = [{"deadline_ms", 100}, {"stream", true}]
      body = body(Message.request(id, "echo", payload(encoding, [{"value", value}], attach), meta))
      assert {:request, ^id, "echo", params} = Message.decode(body, @ordered)
      assert {seed, params["value"]} === {seed, value}
      assert params["_meta"] == DSPex.Ordered.new(meta)
    end
  end

  @tag req: "FR2.2.2"
  test "the first byte tells the encoding, and large bytes make a multipart body" do
    large = [{"value", DSPex.Bytes.new(:binary.copy("x", 70_000))}]

    for encoding <- @encodings do
      assert Message.encoding(body(Message.request(1, "echo", payload(encoding, [{"value", 1}]), []))) == encoding
      multipart = body(Message.request(1, "echo", payload(encoding, large, %Limits{}.attach), []))
      assert Message.encoding(multipart) == :multipart
      assert {:ok, envelope, [_part]} = Multipart.decode(multipart)
      assert Message.encoding(envelope) == encoding
    end
  end

  test "large bytes are attached from the threshold of their encoding on, or from the one that was chosen" do
    for {encoding, limits, threshold} <- [
          {:json, %Limits{}, 1_024},
          {:msgpack, %Limits{}, 65_536},
          {:json, %Limits{attach: 3}, 3},
          {:msgpack, %Limits{attach: 0}, 0}
        ] do
      inline = DSPex.Bytes.new(:binary.copy("x", threshold))
      attached = DSPex.Bytes.new(:binary.copy("x", threshold + 1))
      assert {:ok, %Payload{parts: []}} = Payload.encode(encoding, [{"value", [inline]}], limits)
      assert {:ok, %Payload{parts: [_part]}} = Payload.encode(encoding, [{"value", [inline, attached]}], limits)
    end
  end

  test "requests without members, notifications and answers are read in every encoding" do
    for encoding <- @encodings do
      nothing = payload(encoding, [])
      assert Message.decode(body(Message.request(1, "ping", nothing, []))) == {:request, 1, "ping", %{}}

      assert {:request, 1, "ping", %{"_meta" => %{}}} =
               Message.decode(body(Message.request(1, "ping", nothing, [{"tenant", "a"}])))

      assert Message.decode(body(Message.notification("ready", nothing))) == {:notification, "ready", %{}}
      assert Message.decode(body(Message.response(5, :result, nothing))) == {:response, 5, {:ok, %{}}}

      error = payload(encoding, [{"code", -32_011}, {"message", "late"}, {"data", %{"kind" => "timeout"}}])

      assert {:response, nil, {:error, %{reason: :timeout}}} =
               Message.decode(body(Message.response(nil, :error, error)))
    end
  end

  @tag req: "FR2.2.3"
  test "a glance at an answer or an event gives the id that decoding gives" do
    for encoding <- @encodings, id <- @ids, attach <- [:infinity, 1] do
      value = payload(encoding, [{"value", DSPex.Bytes.new("abc")}], attach)
      assert Message.peek(body(Message.response(id, :result, value))) == {:response, id}
      assert Message.peek(body(Message.response(id, :error, value))) == {:response, id}

      event = payload(encoding, [{"id", id}, {"seq", 0}, {"event", %{"b" => DSPex.Bytes.new("abc")}}], attach)
      assert Message.peek(body(Message.notification("stream/event", event))) == {:event, id}
    end
  end

  @tag req: "NFR2.2.1"
  test "a body that is cut off anywhere is invalid" do
    for encoding <- @encodings, attach <- [:infinity, 1] do
      value = payload(encoding, [{"value", [DSPex.Bytes.new("bytes"), %{"a" => 1.5}, "Grüße"]}], attach)

      for message <- [Message.response(9, :result, value), Message.request(9, "tool/call", value, deadline_ms: 5)],
          whole = body(message),
          length <- 0..(byte_size(whole) - 1) do
        assert {:invalid, _id, %DSPex.Error{}} = Message.decode(binary_part(whole, 0, length))
      end
    end
  end

  @tag req: "NFR2.2.1"
  test "a damaged body is a message or invalid, and a glance never tells another id than decoding" do
    for seed <- 1..6000, encoding = Enum.at(@encodings, rem(seed, 2)) do
      value =
        payload(encoding, [{"value", Values.value(rem(seed, 50), 2)}], if(rem(seed, 3) == 0, do: 4, else: :infinity))

      body = 300 |> Message.response(:result, value) |> body() |> Values.mutate(seed)
      peeked = Message.peek(body)

      case Message.decode(body, @ordered) do
        {:response, id, _outcome} ->
          assert {seed, peeked in [:unknown, {:response, id}]} == {seed, true}

        {:invalid, _id, error} ->
          assert {seed, error.reason in [:protocol_error, :invalid_request, :limit_exceeded]} == {seed, true}

        {kind, _method, _params} ->
          assert kind == :notification

        {kind, _id, _method, _params} ->
          assert kind == :request
      end
    end
  end

  test "any bytes are a message or invalid" do
    for seed <- 1..6000, first <- [<<?{>>, <<0x83>>, <<1>>, ""] do
      bytes = first <> Values.bytes(seed, rem(seed, 50))
      assert tuple_size(Message.decode(bytes)) in 3..4
      assert Message.peek(bytes) == :unknown or match?({_kind, _id}, Message.peek(bytes))
    end
  end
end
