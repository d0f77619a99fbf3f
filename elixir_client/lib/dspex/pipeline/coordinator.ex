defmodule DSPex.Pipeline.Coordinator do
  @moduledoc """
  The process of one run: it starts the steps, gathers what they tell, and ends them at the deadline, on cancel, and when
  the caller dies. Steps that were done are then compensated for, the last one first.

  It sends its owner `{ref, :event, event, acknowledge}` while it runs (only when `events: true`), and `{ref, :done, result}`
  once.
  """

  alias DSPex.Error
  alias DSPex.Pipeline.Result
  alias DSPex.Pipeline.Runner

  @doc "Starts a run for the calling process."
  @spec start([DSPex.Pipeline.Step.t()], map, keyword) :: {pid, reference, reference}
  def start(steps, fields, options) do
    {owner, ref} = {self(), make_ref()}
    {pid, monitor} = spawn_monitor(fn -> init(steps, fields, owner, ref, options) end)
    {pid, ref, monitor}
  end

  @doc "Asks a run to stop; its result is then the error `:cancelled`."
  @spec cancel(pid, reference) :: :ok
  def cancel(pid, ref) do
    send(pid, {:cancel, ref})
    :ok
  end

  defp init(steps, fields, owner, ref, options) do
    Process.flag(:trap_exit, true)
    timeout = Keyword.fetch!(options, :timeout)
    deadline = if timeout == :infinity, do: :infinity, else: System.monotonic_time(:millisecond) + timeout
    context = %{coordinator: self(), ref: ref, deadline: deadline, call: options[:call], stream: options[:stream]}
    child = spawn_link(fn -> exit({:shutdown, {ref, Runner.sequence(steps, fields, context)}}) end)

    loop(%{
      child: child,
      owner: owner,
      owner_monitor: Process.monitor(owner),
      ref: ref,
      deadline: deadline,
      timeout: timeout,
      events?: options[:events] == true,
      progress: options[:on_progress],
      started: System.monotonic_time(),
      fields: fields,
      reports: [],
      errors: [],
      undo: []
    })
  end

  defp loop(%{child: child, ref: ref, owner_monitor: monitor} = state) do
    receive do
      {:pipeline, ^ref, event} ->
        event |> note(state) |> loop()

      {:EXIT, ^child, {:shutdown, {^ref, outcome}}} ->
        finish(outcome, state)

      {:EXIT, ^child, reason} ->
        finish({:error, Error.new(:internal, "the pipeline ended with #{inspect(reason, limit: 5)}")}, state)

      {:cancel, ^ref} ->
        stop(Error.new(:cancelled, "the pipeline was cancelled; its steps were stopped"), state)

      {:DOWN, ^monitor, :process, _pid, _reason} ->
        stop(Error.new(:cancelled, "the caller of the pipeline died"), state)
    after
      left(state.deadline) ->
        stop(Error.new(:timeout, "the pipeline took longer than #{state.timeout} ms; it was stopped"), state)
    end
  end

  defp note({:step_start, step}, state) do
    DSPex.Telemetry.execute([:dspex, :pipeline, :step, :start], %{system_time: System.system_time()}, step)
    publish(Map.put(step, :type, :step_start), nil, state)
  end

  defp note({:step_stop, report, undo}, state) do
    measurements = %{duration: System.convert_time_unit(round(report.duration_ms * 1000), :microsecond, :native)}
    DSPex.Telemetry.execute([:dspex, :pipeline, :step, :stop], measurements, Map.delete(report, :duration_ms))
    undo = if undo, do: [{report.name, undo} | state.undo], else: state.undo
    publish(Map.put(report, :type, :step_stop), nil, %{state | reports: [report | state.reports], undo: undo})
  end

  defp note({:passed_over, name, error}, state), do: %{state | errors: [{name, error} | state.errors]}

  defp note({:wait, pid, token, {:event, name, event}}, state) do
    publish(%{type: :event, name: name, event: event}, fn -> send(pid, {:go_on, token}) end, state)
  end

  defp publish(event, acknowledge, state) do
    if state.progress && event.type != :event, do: state.progress.(event)

    if state.events?,
      do: send(state.owner, {state.ref, :event, event, acknowledge}),
      else: acknowledge && acknowledge.()

    state
  end

  defp finish(outcome, state) do
    state = drain(state)

    case outcome do
      {:ok, fields} -> reply({:ok, result(fields, state)}, state)
      {:error, error} -> fail(error, state)
    end
  end

  defp stop(error, %{child: child} = state) do
    Process.exit(child, :kill)
    receive do: ({:EXIT, ^child, _reason} -> :ok)
    state |> drain() |> then(&fail(error, &1))
  end

  # What a step told before it was stopped is part of the story: it may have to be undone.
  defp drain(%{ref: ref} = state) do
    receive do
      {:pipeline, ^ref, {:wait, _pid, _token, _event}} -> drain(state)
      {:pipeline, ^ref, event} -> event |> note(state) |> drain()
    after
      0 -> state
    end
  end

  defp fail(error, state) do
    for {name, undo} <- state.undo, do: compensate(name, undo)

    steps =
      state.reports
      |> Enum.reverse()
      |> Enum.map(&%{"name" => &1.name, "path" => &1.path, "status" => to_string(&1.status)})

    reply({:error, %{error | details: Map.put(error.details || %{}, "steps", steps)}}, state)
  end

  defp compensate(name, undo) do
    case DSPex.Pipeline.Tasks.run([undo], timeout: 30_000) do
      [{:ok, _value}] ->
        :ok

      [failure] ->
        require Logger
        Logger.error("the compensation of the pipeline step #{name} failed: #{inspect(failure, limit: 5)}")
    end
  end

  defp result(fields, state) do
    reports = Enum.reverse(state.reports)

    %Result{
      fields: fields,
      steps: reports,
      errors: Enum.reverse(state.errors),
      usage: reports |> Enum.map(& &1.usage) |> Enum.reduce(%{}, &Result.add_usage(&2, &1)),
      duration_ms: System.convert_time_unit(System.monotonic_time() - state.started, :native, :microsecond) / 1000
    }
  end

  defp reply(outcome, state), do: send(state.owner, {state.ref, :done, outcome})

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(0, deadline - System.monotonic_time(:millisecond))
end
