defmodule DSPex.Protocol.MessageTest do
  use ExUnit.Case, async: true
  doctest DSPex.Protocol.Message
  doctest DSPex.Wire.Payload

  alias DSPex.Error
  alias DSPex.Protocol.Message
  alias DSPex.Test.Vectors
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Payload

  # What a client never receives: these checks of requests belong to the worker.
  @of_servers ~w(_meta deadline stream credit session)

  for {vector, index} <- Enum.with_index(Vectors.cases("messages.json")) do
    @vector vector
    @tag req: ["FR2.2.1", "FR2.2.3", "OWN-7"]
    test "vector #{index}: #{vector["name"]}" do
      for body <- [@vector["json"], Vectors.bytes(@vector["msgpack"])] do
        message = Message.decode(body)
        check(message, @vector["message"])
      end

      if @vector["canonical"] do
        assert write(@vector["json"], :json) == @vector["json"]
        assert write(@vector["json"], :msgpack) == Vectors.bytes(@vector["msgpack"])
      end
    end
  end

  for {vector, index} <- Enum.with_index(Vectors.cases("messages.json", "invalid")) do
    @vector vector
    @tag req: "OWN-7"
    test "invalid vector #{index} is no message for a client either: #{vector["name"]}" do
      unless Enum.any?(@of_servers, &String.contains?(@vector["name"], &1)) do
        for body <- [@vector["json"], Vectors.bytes(@vector["msgpack"])] do
          assert {:invalid, id, %Error{reason: :invalid_request}} = Message.decode(body)
          assert id == @vector["id"]
        end
      end
    end
  end

  test "bodies that are no envelope are errors, whatever their bytes" do
    for body <- ["", "[]", <<1>>, <<1, 0, 1, 0, 0, 0, 9, "{}">>, <<1, 0, 1, 0, 0, 0, 1, 1>>, <<0xC1>>, "{", <<0x81>>] do
      assert {:invalid, nil, %Error{reason: :protocol_error}} = Message.decode(body)
    end

    assert {:invalid, nil, %Error{reason: :invalid_request}} = Message.decode("{}")
  end

  test "any bytes give a message or an error, and peek never raises" do
    :rand.seed(:exsss, {5, 5, 5})
    {:ok, seed_body} = Payload.encode(:json, [{"value", [1, %{"a" => nil}]}])
    whole = IO.iodata_to_binary(Message.request(7, "echo", seed_body, []))

    for _round <- 1..500 do
      body = mutate(whole)
      assert elem(Message.decode(body), 0) in [:request, :notification, :response, :invalid]
      assert match?(:unknown, Message.peek(body)) or elem(Message.peek(body), 0) in [:response, :event]
    end
  end

  @tag req: "FR2.2.3"
  test "peek finds the id of an answer or an event in every encoding" do
    for encoding <- [:json, :msgpack],
        id <- [0, 127, 128, 255, 65_535, 70_000, 4_294_967_296, 9_007_199_254_740_991],
        attach <- [10, :infinity] do
      {:ok, payload} =
        Payload.encode(encoding, [{"value", DSPex.Bytes.new("twenty bytes of data")}], %Limits{attach: attach})

      assert Message.peek(body(Message.response(id, :result, payload))) == {:response, id}
      assert Message.peek(body(Message.response(id, :error, payload))) == {:response, id}
      assert Message.peek(body(Message.request(id, "tool/call", payload, []))) == :unknown
      {:ok, event} = Payload.encode(encoding, [{"id", id}, {"seq", 0}, {"event", %{}}])
      assert Message.peek(body(Message.notification("stream/event", event))) == {:event, id}
    end
  end

  defp body(iodata), do: IO.iodata_to_binary(iodata)

  defp mutate(body) do
    position = :rand.uniform(byte_size(body)) - 1
    <<before::binary-size(position), _byte, rest::binary>> = body
    Enum.random([before, rest, before <> <<:rand.uniform(256) - 1>> <> rest, before <> body])
  end

  # Writes the message of a JSON body again, with the members in the order that they have there.
  defp write(json, encoding) do
    case Message.decode(json, %Limits{maps: :ordered}) do
      {:request, id, method, params} ->
        request(id, method, pairs(params), encoding)

      {:notification, method, params} ->
        body(Message.notification(method, payload(encoding, pairs(params))))

      {:response, id, {:ok, %DSPex.Ordered{pairs: pairs}}} ->
        body(Message.response(id, :result, payload(encoding, pairs)))

      {:response, _id, _outcome} ->
        raw(json, encoding)
    end
  end

  defp request(id, method, pairs, encoding) do
    {meta, params} = Enum.split_with(pairs, fn {name, _value} -> name == "_meta" end)
    meta = for {"_meta", members} <- meta, pair <- members.pairs, do: pair
    body(Message.request(id, method, payload(encoding, params), meta))
  end

  # Errors and results that are no map are written by nobody here.
  defp raw(json, :json), do: json

  defp raw(json, :msgpack) do
    {:ok, envelope} = DSPex.Wire.Json.decode(json, %Limits{maps: :ordered})
    {:ok, data, []} = DSPex.Wire.Msgpack.encode(envelope)
    body(data)
  end

  defp pairs(%DSPex.Ordered{pairs: pairs}), do: pairs
  defp pairs(params) when params == %{}, do: []

  defp payload(encoding, members) do
    {:ok, payload} = Payload.encode(encoding, members)
    payload
  end

  defp check({:request, id, method, params}, %{"type" => "request"} = expected) do
    assert {id, method, Map.delete(params, "_meta")} == {expected["id"], expected["method"], expected["params"]}
  end

  defp check({:notification, method, params}, %{"type" => "notification"} = expected),
    do: assert({method, params} == {expected["method"], expected["params"]})

  defp check({:response, id, {:ok, result}}, %{"type" => "result"} = expected),
    do: assert({id, result} == {expected["id"], expected["result"]})

  defp check({:response, id, {:error, error}}, %{"type" => "error"} = expected) do
    assert id == expected["id"]
    assert is_struct(error, Error)
  end

  @tag req: "OWN-7"
  test "a response reads the same by the short way and by the long one, which a blank behind it takes" do
    deep = fn levels -> String.duplicate("[", levels) <> String.duplicate("]", levels) end

    for result <-
          ~w({} null 1 -0.5 "a" [] [1,{"a":{"b":[2]}}] {"$type":"bytes","base64":"AAE="} {"$type":"what"} {"a":1,"a":2}) ++
            [
              " {} ",
              "",
              "{",
              "}",
              "{}}",
              "{},{}",
              ~s({},"error":{}),
              ~s({},"result":{}),
              ~s({},"method":"x"),
              "nul",
              "1 2"
            ] ++
            [~s({},"more":1), deep.(62), deep.(63), deep.(64), String.duplicate("9", 5_000), ~s("\xFF")],
        limits <- [%Limits{}, %Limits{maps: :ordered}, %Limits{items: 1}, %Limits{items: 3}] do
      usual = ~s({"jsonrpc":"2.0","id":7,"result":#{result}})
      assert told(Message.decode(usual, limits)) == told(Message.decode(usual <> " ", limits))
    end
  end

  # Where the text breaks off, a blank more moves the place that the message names.
  defp told({:invalid, id, error}), do: {:invalid, id, error.reason, String.replace(error.message, ~r/\d+$/, "")}
  defp told(message), do: message

  @tag req: "OWN-7"
  test "the id of a response is bounded on the short way too" do
    assert {:response, 9_007_199_254_740_991, {:ok, %{}}} =
             Message.decode(~s({"jsonrpc":"2.0","id":9007199254740991,"result":{}}))

    assert {:invalid, nil, %Error{reason: :invalid_request}} =
             Message.decode(~s({"jsonrpc":"2.0","id":9007199254740992,"result":{}}))

    assert {:invalid, nil, %Error{}} = Message.decode(~s({"jsonrpc":"2.0","id":,"result":{}}))
  end
end
