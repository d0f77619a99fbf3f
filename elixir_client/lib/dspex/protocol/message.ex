defmodule DSPex.Protocol.Message do
  @moduledoc """
  Envelopes: JSON-RPC 2.0 in both directions and all encodings (`proto/PROTOCOL.md`, section 4). Pure.

  `peek/1` tells from the first bytes of a body to whom it belongs, so that the process that owns the connection hands
  the body on without decoding it. A body with another order of members gives `:unknown` and is decoded whole.
  """

  alias DSPex.Error
  alias DSPex.Wire.Json
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Multipart
  alias DSPex.Wire.Payload

  @max_id 9_007_199_254_740_991
  @response_head ~s({"jsonrpc":"2.0","id":)
  @event_head ~s({"jsonrpc":"2.0","method":"stream/event","params":{"id":)
  @result_member ~s(,"result":)
  @error_member ~s(,"error":)
  @packed_head <<0x83, 0xA7, "jsonrpc", 0xA3, "2.0">>

  @type id :: 0..9_007_199_254_740_991
  @type t ::
          {:request, id, String.t(), map}
          | {:notification, String.t(), map}
          | {:response, id | nil, {:ok, term} | {:error, Error.t()}}
          | {:invalid, id | nil, Error.t()}

  @doc """
  The body of a request; `meta` are the members of `params._meta`.

      iex> {:ok, payload} = DSPex.Wire.Payload.encode(:json, [{"value", 1}])
      iex> IO.iodata_to_binary(DSPex.Protocol.Message.request(7, "echo", payload, [{"deadline_ms", 100}]))
      ~s({"jsonrpc":"2.0","id":7,"method":"echo","params":{"value":1,"_meta":{"deadline_ms":100}}})
  """
  @spec request(id, String.t(), Payload.t(), [{String.t(), term}]) :: iodata
  def request(id, method, %Payload{encoding: :json} = payload, meta) do
    head = [~s({"jsonrpc":"2.0","id":), Integer.to_string(id), ~s(,"method":"), method, ?"]
    body([head, params(payload, meta_json(meta)), ?}], payload)
  end

  def request(id, method, %Payload{encoding: :msgpack} = payload, meta) do
    count = if empty?(payload, meta), do: 3, else: 4
    head = [pack_map(count), "\xA7jsonrpc\xA32.0\xA2id", pack(id), "\xA6method", pack(method)]
    body([head, params(payload, meta_msgpack(meta))], payload)
  end

  @doc """
  The body of a notification.

      iex> {:ok, payload} = DSPex.Wire.Payload.encode(:json, [{"id", 7}])
      iex> IO.iodata_to_binary(DSPex.Protocol.Message.notification("$/cancelRequest", payload))
      ~s({"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":7}})
  """
  @spec notification(String.t(), Payload.t()) :: iodata
  def notification(method, %Payload{encoding: :json} = payload),
    do: body([~s({"jsonrpc":"2.0","method":"), method, ?", params(payload, nil), ?}], payload)

  def notification(method, %Payload{encoding: :msgpack} = payload) do
    count = if payload.count == 0, do: 2, else: 3
    body([pack_map(count), "\xA7jsonrpc\xA32.0\xA6method", pack(method), params(payload, nil)], payload)
  end

  @doc "The body of an answer, with the members of its result or of its error object."
  @spec response(id | nil, :result | :error, Payload.t()) :: iodata
  def response(id, member, %Payload{encoding: :json} = payload) do
    head = [~s({"jsonrpc":"2.0","id":), if(id, do: Integer.to_string(id), else: "null"), ~s(,"#{member}":{)]
    body([head, payload.members, "}}"], payload)
  end

  def response(id, member, %Payload{encoding: :msgpack} = payload) do
    head = [pack_map(3), "\xA7jsonrpc\xA32.0\xA2id", pack(id), pack(Atom.to_string(member))]
    body([head, pack_map(payload.count), payload.members], payload)
  end

  @doc """
  Tells whose body this is, from its first bytes.

      iex> DSPex.Protocol.Message.peek(~s({"jsonrpc":"2.0","id":7,"result":{}}))
      {:response, 7}
      iex> DSPex.Protocol.Message.peek(~s({"jsonrpc":"2.0","method":"stream/event","params":{"id":7,"seq":0}}))
      {:event, 7}
      iex> DSPex.Protocol.Message.peek(~s({"id":7,"jsonrpc":"2.0","result":{}}))
      :unknown
  """
  @spec peek(binary) :: {:response, id} | {:event, id} | :unknown
  def peek(<<@response_head, rest::binary>>), do: peek_id(rest, 0)

  def peek(<<@event_head, rest::binary>>) do
    case digits(rest, 0) do
      {id, <<?,, _rest::binary>>} -> {:event, id}
      _other -> :unknown
    end
  end

  def peek(<<@packed_head, 0xA2, "id", rest::binary>>) do
    case packed_id(rest) do
      {id, <<0xA6, "result", _rest::binary>>} -> {:response, id}
      {id, <<0xA5, "error", _rest::binary>>} -> {:response, id}
      _other -> :unknown
    end
  end

  def peek(<<@packed_head, 0xA6, "method", 0xAC, "stream/event", 0xA6, "params", rest::binary>>) do
    with <<0x83, 0xA2, "id", rest::binary>> <- rest, {id, _rest} <- packed_id(rest) do
      {:event, id}
    else
      _other -> :unknown
    end
  end

  def peek(<<1, _count::16, length::32, envelope::binary-size(length), _rest::binary>>) when length > 0,
    do: if(:binary.first(envelope) == 1, do: :unknown, else: peek(envelope))

  def peek(_body), do: :unknown

  @doc """
  Decodes a body whole. With `maps: :ordered` in the limits, values below `params`, `result` and `error` keep their
  order; the envelope itself is a plain map in any case.

      iex> DSPex.Protocol.Message.decode(~s({"jsonrpc":"2.0","id":7,"result":{"a":1}}))
      {:response, 7, {:ok, %{"a" => 1}}}
  """
  @spec decode(binary, Limits.t()) :: t
  def decode(body, limits \\ %Limits{})

  # What a worker sends most. What lies between the head and the last brace is one JSON value, or the body is read whole.
  def decode(<<@response_head, first, _rest::binary>> = body, %{items: items} = limits)
      when first in ?1..?9 and items >= 3 do
    <<@response_head, rest::binary>> = body

    with {id, <<@result_member, rest::binary>>} when id <= @max_id <- digits(rest, 0),
         size = byte_size(rest) - 1,
         <<text::binary-size(size), ?}>> <- rest,
         {:ok, result} <- Json.decode(text, limits, [], 1) do
      {:response, id, {:ok, result}}
    else
      _otherwise -> decode_whole(body, limits)
    end
  end

  def decode(body, limits), do: decode_whole(body, limits)

  defp decode_whole(body, limits) do
    case value(body, limits) do
      {:ok, envelope} when is_map(envelope) -> envelope |> plain() |> classify()
      {:ok, _other} -> invalid(nil, :invalid_request, "the envelope is no map")
      {:error, error} -> {:invalid, nil, error}
    end
  end

  @doc """
  Tells the encoding of a body by its first byte.

      iex> DSPex.Protocol.Message.encoding("{}")
      :json
  """
  @spec encoding(binary) :: :json | :msgpack | :multipart | :unknown
  def encoding(<<?{, _rest::binary>>), do: :json
  def encoding(<<1, _rest::binary>>), do: :multipart
  def encoding(<<8::4, _count::4, _rest::binary>>), do: :msgpack
  def encoding(<<byte, _rest::binary>>) when byte in [0xDE, 0xDF], do: :msgpack
  def encoding(_body), do: :unknown

  defp value(body, limits, parts \\ []) do
    case encoding(body) do
      :json -> Json.decode(body, limits, parts)
      :msgpack -> Msgpack.decode(body, limits, parts)
      :multipart when parts == [] -> multipart(body, limits)
      _other -> {:error, Error.new(:protocol_error, "the body is neither JSON, MessagePack nor multipart")}
    end
  end

  defp multipart(body, limits) do
    case Multipart.decode(body) do
      {:ok, <<1, _rest::binary>>, _parts} -> {:error, Error.new(:protocol_error, "a multipart body inside another")}
      {:ok, envelope, parts} -> value(envelope, limits, parts)
      :error -> {:error, Error.new(:protocol_error, "the lengths of a multipart body do not add up")}
    end
  end

  defp plain(%DSPex.Ordered{pairs: pairs}), do: Map.new(pairs)
  defp plain(map), do: map

  defp classify(envelope) when is_map_key(envelope, "result") or is_map_key(envelope, "error") do
    case envelope do
      %{"jsonrpc" => "2.0", "id" => _id, "method" => _method} ->
        invalid(nil, :invalid_request, "a response has a method")

      %{"result" => _result, "error" => _error} ->
        invalid(nil, :invalid_request, "a response has both result and error")

      %{"jsonrpc" => "2.0", "id" => id, "result" => result} when id != nil ->
        respond(id, {:ok, result})

      %{"jsonrpc" => "2.0", "id" => id, "error" => %{} = error} ->
        respond(id, {:error, error_of(error)})

      _other ->
        invalid(nil, :invalid_request, "a response has jsonrpc, id, and a result or an error object")
    end
  end

  defp classify(%{"jsonrpc" => "2.0", "method" => method} = envelope) when is_binary(method) do
    params = Map.get(envelope, "params", %{})
    id = envelope["id"]

    cond do
      not is_map(params) or is_struct(params, DSPex.Bytes) -> invalid(id, :invalid_request, "params is no map")
      not Map.has_key?(envelope, "id") -> {:notification, method, params}
      valid_id?(id) -> {:request, id, method, params}
      true -> invalid(nil, :invalid_request, "the id of #{method} is no integer from 0 to 2^53 - 1")
    end
  end

  defp classify(envelope),
    do: invalid(envelope["id"], :invalid_request, "the message is neither request, notification nor response")

  defp error_of(error), do: error |> DSPex.Ordered.plain() |> Error.from_object()

  defp respond(id, outcome) do
    if valid_id?(id) or id == nil,
      do: {:response, id, outcome},
      else: invalid(nil, :invalid_request, "the id of a response is no integer from 0 to 2^53 - 1")
  end

  defp invalid(id, reason, message), do: {:invalid, if(valid_id?(id), do: id), Error.new(reason, message)}

  defp valid_id?(id), do: is_integer(id) and id >= 0 and id <= @max_id

  defp body(envelope, %Payload{parts: []}), do: envelope
  defp body(envelope, %Payload{parts: parts}), do: Multipart.encode(envelope, parts)

  defp empty?(payload, meta), do: payload.count == 0 and meta == []

  defp params(%Payload{count: 0}, nil), do: []
  defp params(%Payload{encoding: :json, count: 0}, meta), do: [~s(,"params":{), meta, ?}]
  defp params(%Payload{encoding: :json} = payload, nil), do: [~s(,"params":{), payload.members, ?}]
  defp params(%Payload{encoding: :json} = payload, meta), do: [~s(,"params":{), payload.members, ?,, meta, ?}]

  defp params(%Payload{encoding: :msgpack} = payload, nil),
    do: ["\xA6params", pack_map(payload.count), payload.members]

  defp params(%Payload{encoding: :msgpack} = payload, meta),
    do: ["\xA6params", pack_map(payload.count + 1), payload.members, meta]

  defp meta_json([]), do: nil

  defp meta_json(meta) do
    {:ok, json, []} = Json.encode(%DSPex.Ordered{pairs: meta}, %Limits{attach: :infinity})
    [~s("_meta":), json]
  end

  defp meta_msgpack([]), do: nil
  defp meta_msgpack(meta), do: ["\xA5_meta", pack(%DSPex.Ordered{pairs: meta})]

  defp pack(value) do
    {:ok, data, []} = Msgpack.encode(value, %Limits{attach: :infinity})
    data
  end

  defp pack_map(count), do: Msgpack.map_head(count)

  defp peek_id(text, number) do
    case digits(text, number) do
      {id, <<@result_member, _rest::binary>>} -> {:response, id}
      {id, <<@error_member, _rest::binary>>} -> {:response, id}
      _other -> :unknown
    end
  end

  defp digits(<<digit, rest::binary>>, number) when digit in ?0..?9 and number <= @max_id,
    do: digits(rest, number * 10 + digit - ?0)

  defp digits(rest, number), do: {number, rest}

  defp packed_id(<<0::1, id::7, rest::binary>>), do: {id, rest}
  defp packed_id(<<0xCC, id::8, rest::binary>>), do: {id, rest}
  defp packed_id(<<0xCD, id::16, rest::binary>>), do: {id, rest}
  defp packed_id(<<0xCE, id::32, rest::binary>>), do: {id, rest}
  defp packed_id(<<0xCF, id::64, rest::binary>>), do: {id, rest}
  defp packed_id(_rest), do: :unknown
end
