defmodule DSPex.Testing.Worker do
  @moduledoc false
  # A worker in this BEAM: the real protocol over the memory transport, with answers that a test gives.

  alias DSPex.Error
  alias DSPex.Protocol.Message
  alias DSPex.Transport.Memory
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Payload

  # Below the credit that a stream is opened with.
  @most_tokens 24

  @doc "Makes a function of inputs and program from what a test gives."
  def answers(function) when is_function(function, 2), do: function
  def answers(function) when is_function(function, 1), do: fn inputs, _program -> function.(inputs) end
  def answers(outputs) when is_map(outputs), do: fn _inputs, _program -> outputs end

  def answers([_first | _rest] = list) do
    taken = :atomics.new(1, [])
    last = length(list) - 1
    fn _inputs, _program -> Enum.at(list, min(:atomics.add_get(taken, 1, 1) - 1, last)) end
  end

  @doc "Starts one; every call is told to `owner`."
  def start(owner, answer),
    do:
      spawn(fn -> loop(%{owner: owner, answer: answer, decoder: Frame.new(), link: nil, programs: %{}, calls: %{}}) end)

  defp loop(state) do
    receive do
      {:dspex_memory, link, :open} -> loop(%{state | link: link})
      {:dspex_memory, _link, {:data, bytes}} -> state |> feed(bytes) |> loop()
      {:dspex_memory, _link, :close} -> for {_id, pid} <- state.calls, do: Process.exit(pid, :kill)
    end
  end

  defp feed(state, bytes) do
    {frames, decoder} = Frame.decode(state.decoder, bytes)
    frames = for {:frame, body} <- frames, do: Message.decode(body)
    Enum.reduce(frames, %{state | decoder: decoder}, &handle/2)
  end

  defp handle({:request, id, "initialize", _params}, %{link: link} = state) do
    result(link, id, %{
      "protocol_version" => 1,
      "server" => %{"name" => "dspex-testing", "version" => "0"},
      "limits" => %{"max_frame_bytes" => 67_108_864},
      "worker_id" => "testing",
      "pid" => 0
    })

    ready = payload([{"dspy", %{"version" => "none"}}, {"features", []}, {"boot_ms", 0}])
    Memory.reply(link, Frame.encode(Message.notification("ready", ready)))
    state
  end

  defp handle({:request, id, "program.put", %{"program" => program}}, state) do
    handle = :crypto.hash(:sha256, :erlang.term_to_binary(program)) |> Base.encode16(case: :lower)
    result(state.link, id, %{"module" => handle})
    put_in(state.programs[handle], program)
  end

  defp handle({:request, id, "module.call", params}, %{programs: programs} = state)
       when is_map_key(programs, :erlang.map_get("module", params)) do
    call = %{
      inputs: params["inputs"],
      program: programs[params["module"]],
      options: params["options"] || %{},
      meta: params["_meta"] || %{}
    }

    send(state.owner, {__MODULE__, :called, call})
    %{link: link, answer: answer} = state
    put_in(state.calls[id], spawn(fn -> answer(link, id, call, answer) end))
  end

  defp handle({:request, id, "module.call", _params}, state) do
    error(state.link, id, Error.new(:not_found, "the program is not here", need: "program"))
    state
  end

  defp handle({:request, id, "ping", _params}, state), do: answered(state, id, %{})
  defp handle({:request, id, "echo", params}, state), do: answered(state, id, Map.take(params, ["value"]))

  defp handle({:request, id, "shutdown", _params}, state) do
    result(state.link, id, %{})
    Memory.hang_up(state.link, "the process ended with exit status 0")
    state
  end

  defp handle({:request, id, method, _params}, state) do
    error(state.link, id, Error.new(:not_found, "a scripted worker has no method #{method}"))
    state
  end

  defp handle({:notification, "$/cancelRequest", %{"id" => id}}, state) do
    {pid, calls} = Map.pop(state.calls, id)
    if pid, do: Process.exit(pid, :kill)
    %{state | calls: calls}
  end

  defp handle(_message, state), do: state

  defp answer(link, id, call, answer) do
    respond(link, id, call, answer.(call.inputs, call.program))
  catch
    kind, reason ->
      where = __STACKTRACE__ |> Enum.take(1) |> Exception.format_stacktrace() |> String.trim()
      text = "the answers of the test failed at #{where}: #{Exception.format_banner(kind, reason, __STACKTRACE__)}"
      error(link, id, Error.new(:program_error, text))
  end

  defp respond(link, _id, _call, :crash), do: Memory.hang_up(link, "the process ended with signal 9")
  defp respond(link, id, _call, %Error{} = error), do: error(link, id, error)

  defp respond(link, id, call, outputs) do
    outputs = Map.new(outputs, fn {name, value} -> {to_string(name), value} end)
    if call.meta["stream"] == true, do: stream(link, id, outputs)
    result(link, id, %{"outputs" => outputs, "usage" => %{}, "cost" => nil, "meta" => %{"worker" => "testing"}})
  end

  # The first text field, in few pieces.
  defp stream(link, id, outputs) do
    with {field, text} <- Enum.find(outputs, fn {_name, value} -> is_binary(value) end) do
      pieces = Regex.scan(~r/\S+\s*|^\s+/, text) |> List.flatten()
      {pieces, rest} = Enum.split(pieces, @most_tokens)
      pieces = if rest == [], do: pieces, else: pieces ++ [Enum.join(rest)]

      for {piece, seq} <- Enum.with_index(pieces, 1) do
        event = %{"type" => "token", "field" => field, "text" => piece, "last" => seq == length(pieces)}
        params = payload([{"id", id}, {"seq", seq}, {"event", event}])
        Memory.reply(link, Frame.encode(Message.notification("stream/event", params)))
      end
    end
  end

  defp answered(state, id, members) do
    result(state.link, id, members)
    state
  end

  defp result(link, id, members), do: response(link, id, :result, members)
  defp error(link, id, error), do: response(link, id, :error, Error.to_object(error))

  defp response(link, id, member, members),
    do: Memory.reply(link, Frame.encode(Message.response(id, member, payload(members))))

  defp payload(members) do
    {:ok, payload} = Payload.encode(:json, Enum.to_list(members))
    payload
  end
end
