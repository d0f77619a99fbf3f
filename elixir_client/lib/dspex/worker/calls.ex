defmodule DSPex.Worker.Calls do
  @moduledoc false
  # The calls of an owner: taken, answered, cancelled, failed.

  alias DSPex.Error
  alias DSPex.Protocol.Connection
  alias DSPex.Worker.Call
  alias DSPex.Worker.Outgoing
  alias DSPex.Worker.Place
  alias DSPex.Worker.Tools

  @doc "Takes a request on and writes it, or refuses it."
  def accept(data, id, {pid, ref} = from, frame, options) do
    bytes = IO.iodata_length(frame) - 4
    backlog = data.module.backlog(data.transport)

    cond do
      not Connection.accepts?(data.connection, bytes) ->
        text = "the request has #{bytes} bytes, the worker accepts #{data.connection.peer_cap} (max_frame_bytes)"
        refuse(data, from, Error.new(:limit_exceeded, text))

      backlog > data.config.max_backlog ->
        text = "the worker does not read: #{backlog} bytes wait to be written to it"
        refuse(data, from, Error.new(:overloaded, text))

      true ->
        # The message of the caller's end names the request.
        monitor = :erlang.monitor(:process, pid, tag: {:caller_down, id})
        call = %Call{pid: pid, ref: ref, monitor: monitor, tools: Map.get(options, :tools, %{})}
        connection = Connection.register(data.connection, id, call, options[:credit])
        Outgoing.write(data, connection, frame)
    end
  end

  @doc "Tells a caller that its request was not written."
  def refuse(data, {_pid, ref}, error) do
    Place.release(data)
    send(ref, {ref, {:refused, error}})
    data
  end

  @doc "A call is over; `message` is what its caller gets."
  def finish(data, %Call{monitor: monitor} = call, message) do
    Process.demonitor(monitor, [:flush])
    # The place is free before the caller knows its answer: its next call must find it.
    Place.release(data)
    tell(call, message)
  end

  @doc "Sends a message to the caller."
  def tell(%Call{ref: ref}, message), do: send(ref, {ref, message})

  @doc "Ends a call that its caller does not want any more."
  def cancel(%{connection: nil} = data, _id), do: data

  def cancel(data, id) do
    case data.connection.in_flight do
      %{^id => {call, _credit}} ->
        Process.demonitor(call.monitor, [:flush])
        {frame, connection} = Connection.cancel(data.connection, id)
        data = %{data | connection: connection} |> stop_tools(id) |> Outgoing.write(frame)
        Place.release(data)
        data

      _done ->
        data
    end
  end

  @doc "Ends all calls with one message."
  def fail_all(%{connection: nil} = data, _message), do: data

  def fail_all(data, message) do
    for {_id, {call, _credit}} <- data.connection.in_flight, do: finish(data, call, message)
    connection = %{data.connection | in_flight: %{}, tool_calls: %{}}
    %{data | tools: Tools.kill_request(data.tools, :all), connection: connection}
  end

  @doc "How many calls are in flight."
  def count(%{connection: nil}), do: 0
  def count(data), do: map_size(data.connection.in_flight)

  @doc "Answers a tool call of the worker, unless it was given up."
  def tool_ended(data, id, outcome) do
    case {Connection.take_tool_call(data.connection, id), outcome} do
      {{true, connection}, {:frame, frame}} ->
        Outgoing.write(%{data | connection: connection}, frame)

      {{true, connection}, {:error, error}} ->
        frame = Connection.tool_frame(connection.encoding, connection.peer_cap, id, {:error, error})
        Outgoing.write(%{data | connection: connection}, frame)

      {{false, connection}, _outcome} ->
        %{data | connection: connection}
    end
  end

  @doc "Stops the tools that run for a request."
  def stop_tools(data, request) do
    calls = for {id, ^request} <- data.connection.tool_calls, do: id
    tool_calls = Map.drop(data.connection.tool_calls, calls)
    %{data | tools: Tools.kill_request(data.tools, request), connection: %{data.connection | tool_calls: tool_calls}}
  end
end
