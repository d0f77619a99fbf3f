defmodule DSPex.Protocol.Connection do
  @moduledoc """
  One connection to a worker, as a struct: bytes in, events and bytes out; no process, no I/O.

  It owns the frame decoder, the state of the handshake, the requests in flight with their credit, and the calls that the
  worker makes. Every request in flight carries a `tag` of the owner's choice, which comes back in its events.

  Ids: callers bring their own (from a counter shared by all of them, below 2^52). The connection's own requests
  (`initialize`, `ping`, `shutdown`) take theirs from 2^52 on.
  """

  alias DSPex.Error
  alias DSPex.Protocol.Message
  alias DSPex.Protocol.Meta
  alias DSPex.Protocol.Versions
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Payload

  @own_ids 4_503_599_627_370_496
  @version 1

  defstruct phase: :opened,
            decoder: nil,
            encoding: :json,
            attach: nil,
            expects: nil,
            next_id: @own_ids,
            own: %{},
            in_flight: %{},
            cancelled: %{},
            tool_calls: %{},
            peer_cap: 67_108_864,
            stray: 0

  @type phase :: :opened | :initialized | :ready | :draining | :failed | :closed
  @type tag :: term
  @type t :: %__MODULE__{
          phase: phase,
          decoder: Frame.t(),
          encoding: Payload.encoding(),
          attach: non_neg_integer | nil,
          expects: String.t() | nil,
          next_id: pos_integer,
          own: %{Message.id() => atom},
          in_flight: %{Message.id() => {tag, credit :: non_neg_integer | nil}},
          cancelled: %{Message.id() => true},
          tool_calls: %{Message.id() => request :: Message.id()},
          peer_cap: pos_integer,
          stray: non_neg_integer
        }

  @typedoc """
    * `{:initialized, info}`, `{:ready, info}` – the handshake moved on
    * `{:refused, error}` – `initialize` was refused, or the engine can't be loaded (`worker/failed`)
    * `{:response, id, tag, body}` – the answer, still encoded; the request is in flight no more
    * `{:event, id, tag, body}` – a stream event, still encoded
    * `{:flood, id, tag}` – the worker sent an event without credit; it was dropped
    * `{:pong}` – `ping` was answered
    * `{:tool_call, id, tag, request_id, params}` – the worker calls a tool for a request in flight
    * `{:tool_cancel, id}` – it wants that call no more
    * `{:notification, method, params}` – `log/message`, `telemetry/event`, `worker/status`, …
    * `{:send, frame}` – the connection itself answers something
    * `{:stray, what}` – something nobody waits for; it was ignored and counted
    * `{:report, error}` – the worker says of a frame that it could not read it
    * `{:fatal, error}` – the connection is of no use any more
  """
  @type event :: tuple

  @doc "A new connection. Options: `:cap` (bytes of a frame we accept), `:encoding` (`:json` or `:msgpack`), `:attach` (bytes above which answers come as attachments), `:expects` (version of this package that the worker's must fit)."
  @spec new(keyword) :: t
  def new(options \\ []) do
    cap = Keyword.get(options, :cap, 67_108_864)
    encoding = Keyword.get(options, :encoding, :json)
    %__MODULE__{decoder: Frame.new(cap), encoding: encoding, attach: options[:attach], expects: options[:expects]}
  end

  @doc "The frame of `initialize`. Options: `:client` version, `:token`, `:tools`."
  @spec initialize(t, keyword) :: {iodata, t}
  def initialize(%__MODULE__{phase: :opened} = connection, options \\ []) do
    params = [
      {"protocol_versions", [@version]},
      {"client", %{"name" => "dspex", "version" => Keyword.get(options, :version, "0")}},
      {"encodings", ["json", "msgpack"]},
      {"limits", limits(connection)},
      {"capabilities", %{"tools" => Keyword.get(options, :tools, true)}}
    ]

    token = if options[:token], do: [{"token", options[:token]}], else: []
    own_request(connection, :initialize, "initialize", params ++ token)
  end

  defp limits(%{attach: nil} = connection), do: %{"max_frame_bytes" => connection.decoder.cap}
  defp limits(connection), do: Map.put(limits(%{connection | attach: nil}), "attachment_bytes", connection.attach)

  @doc "The frame of a `ping`."
  @spec ping(t) :: {iodata, t}
  def ping(connection), do: own_request(connection, :ping, "ping", [])

  @doc "The frame of `shutdown`; from now on the connection is draining."
  @spec shutdown(t, non_neg_integer) :: {iodata, t}
  def shutdown(connection, grace_ms) do
    own_request(%{connection | phase: :draining}, :shutdown, "shutdown", [{"grace_ms", grace_ms}])
  end

  @doc "Notes a request as in flight. `credit` is the number of events that may come for it, nil without a stream."
  @spec register(t, Message.id(), tag, non_neg_integer | nil) :: t
  def register(connection, id, tag, credit \\ nil),
    do: %{connection | in_flight: Map.put(connection.in_flight, id, {tag, credit})}

  @doc "Forgets a request, whose late answer will be ignored, and gives the frame that cancels it in the worker."
  @spec cancel(t, Message.id()) :: {iodata, t}
  def cancel(connection, id) do
    case Map.pop(connection.in_flight, id) do
      {nil, _in_flight} -> {[], connection}
      {_entry, in_flight} -> {cancel_frame(connection, id), forget(%{connection | in_flight: in_flight}, id)}
    end
  end

  @doc "Grants a stream `n` more events."
  @spec grant(t, Message.id(), pos_integer) :: {iodata, t}
  def grant(connection, id, n) do
    case connection.in_flight do
      %{^id => {tag, credit}} when credit != nil ->
        in_flight = %{connection.in_flight | id => {tag, credit + n}}
        {notify(connection, "stream/credit", [{"id", id}, {"n", n}]), %{connection | in_flight: in_flight}}

      _gone ->
        {[], connection}
    end
  end

  @doc "Whether this call of a tool still waits for its answer; it waits no more after this."
  @spec take_tool_call(t, Message.id()) :: {boolean, t}
  def take_tool_call(connection, id) do
    {request, calls} = Map.pop(connection.tool_calls, id)
    {request != nil, %{connection | tool_calls: calls}}
  end

  @doc """
  The frame that answers a tool call, for a worker with that encoding and that cap. It needs no connection, so that
  the tool's own process can make it.
  """
  @spec tool_frame(Payload.encoding(), pos_integer, Message.id(), {:ok, term} | {:error, Error.t()}) :: iodata
  def tool_frame(encoding, cap, id, {:ok, value}) do
    with {:ok, payload} <- Payload.encode(encoding, [{"value", value}], %Limits{}),
         body = Message.response(id, :result, payload),
         true <- IO.iodata_length(body) <= cap do
      Frame.encode(body)
    else
      {:error, error} -> error_frame(encoding, id, error)
      false -> error_frame(encoding, id, Error.new(:limit_exceeded, "the tool's value is above #{cap} bytes"))
    end
  end

  def tool_frame(encoding, _cap, id, {:error, error}), do: error_frame(encoding, id, error)

  @doc "The largest frame that the other side accepts."
  @spec accepts?(t, non_neg_integer) :: boolean
  def accepts?(connection, bytes), do: bytes <= connection.peer_cap

  @doc "Reads the next bytes of the stream."
  @spec receive_bytes(t, binary) :: {[event], t}
  def receive_bytes(connection, bytes) do
    {events, decoder} = Frame.decode(connection.decoder, bytes)
    frames(events, %{connection | decoder: decoder}, [])
  end

  defp frames([], connection, out), do: {Enum.reverse(out), connection}

  defp frames([{:frame, body} | rest], connection, out) do
    {event, connection} = body(body, connection)
    frames(rest, connection, if(event, do: [event | out], else: out))
  end

  defp frames([{:error, problem} | rest], connection, out) do
    {event, connection} = report(connection, frame_error(problem))
    frames(rest, connection, [event | out])
  end

  defp frames([{:fatal, {:not_a_frame, length}} | _rest], connection, out) do
    text = "the worker wrote something that is no frame (#{printable(length)}); only frames may go to its stdout"
    {Enum.reverse(out, [{:fatal, Error.new(:protocol_error, text)}]), %{connection | phase: :failed}}
  end

  defp body(body, connection) do
    case Message.peek(body) do
      {:response, id} -> response(id, body, connection)
      {:event, id} -> stream_event(id, body, connection)
      :unknown -> message(Message.decode(body), body, connection)
    end
  end

  defp response(id, body, %{in_flight: in_flight, own: own} = connection) do
    case in_flight do
      %{^id => {tag, _credit}} ->
        {{:response, id, tag, body}, %{connection | in_flight: Map.delete(in_flight, id)}}

      _other when is_map_key(own, id) ->
        {kind, own} = Map.pop(own, id)
        own_response(kind, Message.decode(body), %{connection | own: own})

      _other when is_map_key(connection.cancelled, id) ->
        {nil, %{connection | cancelled: Map.delete(connection.cancelled, id)}}

      _other ->
        stray(connection, "an answer to request #{id}, which is not in flight")
    end
  end

  defp stream_event(id, body, %{in_flight: in_flight} = connection) do
    case in_flight do
      %{^id => {tag, credit}} when credit in [0, nil] ->
        {{:flood, id, tag}, connection}

      %{^id => {tag, credit}} ->
        {{:event, id, tag, body}, %{connection | in_flight: %{in_flight | id => {tag, credit - 1}}}}

      _other when is_map_key(connection.cancelled, id) ->
        {nil, connection}

      _other ->
        stray(connection, "an event of request #{id}, which is not in flight")
    end
  end

  defp message({:response, nil, {:error, error}}, _body, connection), do: {{:report, error}, connection}
  defp message({:response, nil, _ok}, _body, connection), do: stray(connection, "an answer without an id")
  defp message({:response, id, _outcome}, body, connection), do: response(id, body, connection)

  defp message({:notification, "stream/event", %{"id" => id}}, body, connection) when is_integer(id),
    do: stream_event(id, body, connection)

  defp message({:notification, "ready", params}, _body, %{phase: :initialized} = connection),
    do: {{:ready, params}, %{connection | phase: :ready}}

  defp message({:notification, "worker/failed", params}, _body, connection),
    do: {{:refused, Error.from_object(params["error"])}, %{connection | phase: :failed}}

  defp message({:notification, "$/cancelRequest", %{"id" => id}}, _body, connection)
       when is_map_key(connection.tool_calls, id),
       do: {{:tool_cancel, id}, connection}

  defp message({:notification, method, params}, _body, connection), do: {{:notification, method, params}, connection}

  # The call in flight is not disturbed: the id of the answer is none's.
  defp message({:request, id, "tool/call", _params}, _body, connection) when is_map_key(connection.tool_calls, id) do
    error = Error.new(:invalid_request, "the id #{id} of tool/call is in flight already", details: %{"id" => id})
    {{:send, refuse(connection, nil, error)}, connection}
  end

  defp message({:request, id, "tool/call", params}, _body, connection) do
    case Meta.problem(params) do
      nil -> tool_call(id, params, connection)
      text -> {{:send, refuse(connection, id, Error.new(:invalid_request, text))}, connection}
    end
  end

  defp message({:request, id, method, _params}, _body, connection) do
    {{:send, refuse(connection, id, Error.new(:not_found, "a client has no method #{inspect(method)}"))}, connection}
  end

  # A request that cannot be understood, for it has an id of the worker's to be answered under.
  defp message({:invalid, id, error}, _body, connection) when is_integer(id),
    do: {{:send, refuse(connection, id, error)}, connection}

  defp message({:invalid, _id, error}, _body, connection), do: report(connection, error)

  defp tool_call(id, %{"request_id" => request, "tool" => tool, "arguments" => arguments} = params, connection)
       when is_binary(tool) and is_map(arguments) do
    case connection.in_flight do
      %{^request => {tag, _credit}} ->
        calls = Map.put(connection.tool_calls, id, request)
        {{:tool_call, id, tag, request, params}, %{connection | tool_calls: calls}}

      _gone ->
        error = Error.new(:cancelled, "the request that calls the tool #{tool} is not in flight any more")
        {{:send, refuse(connection, id, error)}, connection}
    end
  end

  defp tool_call(id, _params, connection) do
    error = Error.new(:invalid_request, "tool/call takes tool (text), arguments (a map) and request_id")
    {{:send, refuse(connection, id, error)}, connection}
  end

  defp own_response(:initialize, {:response, _id, {:ok, %{"protocol_version" => @version} = info}}, connection) do
    case Versions.check(connection.expects, info["server"]) do
      :ok ->
        cap = with %{"max_frame_bytes" => cap} when is_integer(cap) <- info["limits"], do: cap, else: (_none -> nil)
        {{:initialized, info}, %{connection | phase: :initialized, peer_cap: cap || connection.peer_cap}}

      {:error, error} ->
        {{:refused, error}, %{connection | phase: :failed}}
    end
  end

  defp own_response(:initialize, {:response, _id, {:ok, info}}, connection) do
    version = if is_map(info), do: inspect(info["protocol_version"]), else: "none"
    text = "the worker speaks protocol #{version}, this client speaks [#{@version}]; install the same version of both"
    {{:refused, Error.new(:unavailable, text)}, %{connection | phase: :failed}}
  end

  defp own_response(:initialize, {:response, _id, {:error, error}}, connection),
    do: {{:refused, error}, %{connection | phase: :failed}}

  defp own_response(:initialize, {:invalid, _id, error}, connection),
    do: {{:refused, error}, %{connection | phase: :failed}}

  defp own_response(:ping, {:response, _id, {:ok, _result}}, connection), do: {{:pong}, connection}
  defp own_response(_kind, _message, connection), do: {nil, connection}

  # Every cancelled request is still answered once; what a worker never answers must not pile up.
  defp forget(%{cancelled: cancelled} = connection, id) when map_size(cancelled) < 10_000,
    do: %{connection | cancelled: Map.put(cancelled, id, true)}

  defp forget(connection, id), do: %{connection | cancelled: %{id => true}}

  defp cancel_frame(connection, id), do: notify(connection, "$/cancelRequest", [{"id", id}])

  defp stray(connection, what), do: {{:stray, what}, %{connection | stray: connection.stray + 1}}

  defp report(connection, error), do: {{:send, refuse(connection, nil, error)}, connection}

  defp frame_error(:empty), do: Error.new(:protocol_error, "a frame has the length 0")

  defp frame_error({:too_large, length}),
    do: Error.new(:limit_exceeded, "a frame of #{length} bytes is above the client's cap (max_frame_bytes)")

  defp own_request(connection, kind, method, params) do
    {:ok, payload} = Payload.encode(connection.encoding, params)
    id = connection.next_id
    frame = Frame.encode(Message.request(id, method, payload, []))
    {frame, %{connection | next_id: id + 1, own: Map.put(connection.own, id, kind)}}
  end

  defp notify(connection, method, params) do
    {:ok, payload} = Payload.encode(connection.encoding, params)
    Frame.encode(Message.notification(method, payload))
  end

  defp refuse(connection, id, error), do: error_frame(connection.encoding, id, error)

  defp error_frame(encoding, id, error) do
    object = Error.to_object(error)

    {:ok, payload} =
      Payload.encode(encoding, [{"code", object["code"]}, {"message", error.message}, {"data", object["data"]}])

    Frame.encode(Message.response(id, :error, payload))
  end

  defp printable(length) do
    text = <<length::32>>
    if String.printable?(text), do: "it begins with #{inspect(text)}", else: "a length of #{length} bytes"
  end
end
