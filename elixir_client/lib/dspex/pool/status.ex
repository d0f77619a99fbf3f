defmodule DSPex.Pool.Status do
  @moduledoc """
  How a pool does, in a few words: what `DSPex.status/2` gives.

    * `:state` – `:ready` (all its workers are), `:degraded` (some are), `:starting` (none yet), `:down` (none, and `cause` says
      why), `:drained` (it has no workers)
    * `:workers` – how many it should have; `:ready`, how many are
    * `:in_flight` – calls on its workers; `:queued`, callers that wait for a place
    * `:breaker` – `:closed`, `:half_open` or `:open`
    * `:cause` – a `DSPex.Error` where a worker can't start, or nil
  """

  @type t :: %{
          state: :ready | :degraded | :starting | :down | :drained,
          workers: non_neg_integer,
          ready: non_neg_integer,
          in_flight: non_neg_integer,
          queued: non_neg_integer,
          breaker: :closed | :half_open | :open,
          cause: DSPex.Error.t() | nil
        }

  @doc """
  The status of a pool of which `DSPex.info/1` knows `info`.

      iex> info = %{workers: [%{state: :ready, in_flight: 3}, %{state: :starting, in_flight: 0}], size: 2, queued: 0, cause: nil}
      iex> status = DSPex.Pool.Status.of(info, :closed)
      iex> {status.state, status.ready, status.in_flight}
      {:degraded, 1, 3}
  """
  @spec of(map, :closed | :half_open | :open) :: t
  def of(info, breaker) do
    ready = Enum.count(info.workers, &(&1.state == :ready))

    %{
      state: state(info, ready),
      workers: info.size,
      ready: ready,
      in_flight: info.workers |> Enum.map(& &1.in_flight) |> Enum.sum(),
      queued: info.queued,
      breaker: breaker,
      cause: info.cause
    }
  end

  defp state(%{size: 0}, _ready), do: :drained
  defp state(%{size: size}, ready) when ready >= size, do: :ready
  defp state(_info, ready) when ready > 0, do: :degraded
  defp state(%{cause: nil}, _ready), do: :starting
  defp state(_info, _ready), do: :down
end
