defmodule DSPex.ServerEvents do
  @moduledoc """
  A stream as server-sent events, for any HTTP server: `DSPex.Integrations.Plug` is made of this.

  An event has its number as `id`, its type as `event` and JSON as `data`, as in the REST API of the Python side; the last one
  is `result`, with the prediction, or `error`.
  """

  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Wire.Json
  alias DSPex.Wire.Limits

  @doc """
  Writes an event of a stream, the error that ended it, or `:heartbeat`, a comment that keeps the connection open.

      iex> DSPex.ServerEvents.encode(%DSPex.Event{type: :token, seq: 0, field: "answer", text: "Pa"})
      "id: 0\\nevent: token\\ndata: {\\"field\\":\\"answer\\",\\"last\\":false,\\"seq\\":0,\\"text\\":\\"Pa\\",\\"type\\":\\"token\\"}\\n\\n"
      iex> DSPex.ServerEvents.encode(:heartbeat)
      ": heartbeat\\n\\n"
  """
  @spec encode(Event.t() | Error.t() | :heartbeat) :: String.t()
  def encode(:heartbeat), do: ": heartbeat\n\n"
  def encode(%Error{} = error), do: write(nil, "error", members(error))

  def encode(%Event{type: :done, prediction: prediction}) do
    outputs = DSPex.Ordered.new(for name <- prediction.fields, do: {name, prediction.outputs[name]})
    write(nil, "result", %{outputs: outputs, usage: prediction.usage, cost: prediction.cost, meta: prediction.meta})
  end

  def encode(%Event{} = event), do: write(event.seq, Atom.to_string(event.type), members(event))

  @doc "Writes an error as problem details (RFC 9457)."
  @spec problem(Error.t()) :: iodata
  def problem(%Error{} = error) do
    {message, members} = Map.pop!(members(error), "message")
    own = %{"title" => Atom.to_string(error.reason), "detail" => message, "status" => Error.http_status(error)}
    {:ok, json, []} = Json.encode(Map.merge(members, own), %Limits{attach: :infinity})
    json
  end

  @doc """
  Reads a stream in a process of its own and reduces its events in the caller's, one at a time: `function` gets an event, the
  error that ended the stream, or `:heartbeat` after each `pause` ms without any, and gives `{:cont, acc}` or `{:halt, acc}`.
  Halting cancels the call, as the end of the calling process does.
  """
  @spec reduce(Enumerable.t(), timeout, acc, (Event.t() | Error.t() | :heartbeat, acc -> {:cont | :halt, acc})) :: acc
        when acc: term
  def reduce(stream, pause, acc, function) do
    owner = self()
    {reader, monitor} = spawn_monitor(fn -> read(stream, owner) end)
    acc = step({reader, monitor}, pause, acc, function)
    Process.exit(reader, :kill)
    Process.demonitor(monitor, [:flush])
    flush(reader)
    acc
  end

  defp read(stream, owner) do
    owner_monitor = Process.monitor(owner)

    Enum.each(stream, fn event ->
      send(owner, {self(), event})

      receive do
        {^owner, :next} -> :ok
        {:DOWN, ^owner_monitor, :process, _pid, _reason} -> exit(:normal)
      end
    end)
  rescue
    error in Error -> send(owner, {self(), error})
  end

  defp step({reader, monitor} = reading, pause, acc, function) do
    receive do
      {^reader, event} -> event |> function.(acc) |> go_on(event, reading, pause, function)
      {:DOWN, ^monitor, :process, _pid, :normal} -> acc
      {:DOWN, ^monitor, :process, _pid, reason} -> exit(reason)
    after
      pause -> :heartbeat |> function.(acc) |> go_on(:heartbeat, reading, pause, function)
    end
  end

  defp go_on({:halt, acc}, _event, _reading, _pause, _function), do: acc
  defp go_on({:cont, acc}, %Error{}, _reading, _pause, _function), do: acc

  defp go_on({:cont, acc}, event, {reader, _monitor} = reading, pause, function) do
    if event != :heartbeat, do: send(reader, {self(), :next})
    step(reading, pause, acc, function)
  end

  defp flush(reader) do
    receive do
      {^reader, _event} -> flush(reader)
    after
      0 -> :ok
    end
  end

  @members [:seq, :field, :text, :predictor, :message, :tool, :call_id, :arguments, :result, :error]

  defp members(%Error{} = error), do: Map.put(Error.to_object(error)["data"], "message", error.message)

  defp members(%Event{} = event) do
    own = for name <- @members, value = Map.get(event, name), value != nil, do: {name, value}
    own = if event.type == :token, do: [{:last, event.last?} | own], else: own
    own = if event.ok? == nil, do: own, else: [{:ok, event.ok?} | own]
    Map.new([{:type, event.type} | own])
  end

  # JSON has no line breaks of its own, so that `data` is one line.
  defp write(id, name, value) do
    case Json.encode(value, %Limits{attach: :infinity}) do
      {:ok, json, []} -> IO.iodata_to_binary([id(id), "event: ", name, "\ndata: ", json, "\n\n"])
      {:error, error} -> encode(error)
    end
  end

  defp id(nil), do: []
  defp id(number), do: ["id: ", Integer.to_string(number), ?\n]
end
